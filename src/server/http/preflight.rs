//! Checks every request before routing: the target must be a path, and the request must have exactly one valid host.
//!
//! Routes and pages rely on the path. An ambiguous host could be read differently by a proxy in front of this server.

use axum::http::{HeaderMap, Request, Version, header};

use crate::{
    api::{Code, Problem},
    server::listen::UnreadableRequest,
};

/// Rejects requests that no route may see.
///
/// # Errors
/// `malformed`, or `head-too-large`.
pub fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    match request.extensions().get::<UnreadableRequest>() {
        Some(UnreadableRequest::Malformed) => {
            return Err(Problem::malformed("the request is not valid HTTP"));
        }
        Some(UnreadableRequest::TooLarge) => return Err(Problem::new(Code::HeadTooLarge)),
        None => {}
    }
    // `CONNECT host:port` and `GET word` have no path; the path of `OPTIONS *` is `*` (RFC 9112, section 3.2).
    if !request.uri().path_and_query().is_some_and(|target| target.path().starts_with('/')) {
        return Err(Problem::malformed("the request target is not a path"));
    }
    let may_be_missing = request.version() < Version::HTTP_11
        || (request.version() > Version::HTTP_11 && request.uri().authority().is_some());
    check_host(request.headers(), may_be_missing)
}

/// Requires exactly one `Host`, and that it is valid. HTTP/1.0 may omit it, and HTTP/2 if it has `:authority`.
fn check_host(headers: &HeaderMap, may_be_missing: bool) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if may_be_missing => Ok(()),
        (None, _) => Err(Problem::malformed("the Host header is missing")),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Problem::malformed("the Host header is not valid")),
        (Some(_), Some(_)) => Err(Problem::malformed("the request has more than one Host header")),
    }
}

/// Whether this is a non-empty `uri-host [ ":" port ]` (RFC 9110, section 7.2).
fn is_host(text: &[u8]) -> bool {
    let is_name = |c: &u8| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(c);
    let is_literal = |c: &u8| c.is_ascii_hexdigit() || b":.".contains(c);
    let (host, rest) = match text.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|c| *c == b']') else { return false };
            (literal[..end].iter().all(is_literal).then_some(&literal[..end]), &literal[end + 1..])
        }
        None => {
            let end = text.iter().position(|c| *c == b':').unwrap_or(text.len());
            (text[..end].iter().all(is_name).then_some(&text[..end]), &text[end..])
        }
    };
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    host.is_some_and(|host| !host.is_empty())
        && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in [
            "a",
            "a.test",
            "a_b.test:3000",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "a:",
            "xn--a.test.",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "a:80:80", "a:http", "u@a", "[::1", "[]", "[::1]x", "[x]", "a\\b", "ñ",
            "a?b", "a#b", "a:123456",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
