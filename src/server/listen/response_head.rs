//! Encodes the head of a response over HTTP/1.1 that is sent without hyper.

use std::{
    cell::Cell,
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, StatusCode};

/// The length of an HTTP date.
const DATE_BYTES: usize = 29;

/// Appends a head. `length` is the length of the body; without it, the body ends with the connection. `is_last` says that
/// the connection ends after the response.
pub(super) fn write(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<usize>,
    is_last: bool,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in headers {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    if let Some(length) = length {
        // Writing to memory does not fail.
        let _written = write!(out, "\r\ncontent-length: {length}");
    }
    if is_last {
        out.extend_from_slice(b"\r\nconnection: close");
    }
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(&date());
    out.extend_from_slice(b"\r\n\r\n");
}

/// The value of `Date`. Each thread formats it once a second.
#[expect(clippy::disallowed_methods, reason = "the Date header is wall-clock time; leases use another clock")]
fn date() -> [u8; DATE_BYTES] {
    thread_local! {
        static LAST: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [b' '; DATE_BYTES])) };
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (formatted, mut date) = LAST.get();
    if formatted != seconds {
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        date.copy_from_slice(text.as_bytes());
        LAST.set((seconds, date));
    }
    date
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header::CONTENT_TYPE};

    use super::*;

    #[test]
    fn a_head_has_the_status_the_headers_and_how_the_body_ends() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
        let encoded = |length, is_last| {
            let mut out = Vec::new();
            write(&mut out, StatusCode::NOT_FOUND, &headers, length, is_last);
            let text = String::from_utf8(out).unwrap();
            let (start, rest) = text.split_once("date: ").unwrap();
            let date = rest.strip_suffix("\r\n\r\n").unwrap();
            assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
            start.to_owned()
        };
        let start = "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\n";
        assert_eq!(encoded(Some(12), false), format!("{start}content-length: 12\r\n"));
        assert_eq!(encoded(Some(0), true), format!("{start}content-length: 0\r\nconnection: close\r\n"));
        assert_eq!(encoded(None, true), format!("{start}connection: close\r\n"));
    }
}
