//! Calls that a connection answers itself, without hyper and the router, which would take most of the time of a short
//! call.
//!
//! Promises:
//! - Only plain requests of HTTP/1.1 are answered this way: a listed call that has arrived completely, without a header
//!   that concerns the connection. hyper gets every other request, from its first byte, and with it every doubt about
//!   what a request means.
//! - A handler gets the same request as through the router, except for headers that it does not read.

use std::mem::MaybeUninit;

use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;

use super::connection_info::ConnectionInfo;

/// The most headers of a direct call. Browsers and proxies send some 20.
const MAX_HEADERS: usize = 48;

/// Answers a call.
pub type Handler =
    dyn Fn(Request<Bytes>, ConnectionInfo) -> BoxFuture<'static, Response<Vec<u8>>> + Send + Sync;

/// The calls of an application that connections answer themselves.
#[derive(Default)]
pub struct DirectCalls {
    headers: Vec<HeaderName>,
    calls: Vec<Call>,
}

struct Call {
    method: Method,
    path: &'static str,
    handler: Box<Handler>,
}

impl Call {
    /// Whether this is the call with this method and path. The path of a GET continues with a name.
    fn is(&self, method: &str, path: &str) -> bool {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        self.method.as_str() == method
            && path.strip_prefix(self.path).is_some_and(|name| {
                if self.method == Method::GET {
                    !name.is_empty() && name.bytes().all(is_plain)
                } else {
                    name.is_empty()
                }
            })
    }
}

impl DirectCalls {
    /// No calls. `headers` are those that the handlers will read; they get no others.
    #[must_use]
    pub const fn new(headers: Vec<HeaderName>) -> Self {
        Self { headers, calls: Vec::new() }
    }

    /// Adds a call with a body.
    #[must_use]
    pub fn post(self, path: &'static str, handler: Box<Handler>) -> Self {
        self.add(Call { method: Method::POST, path, handler })
    }

    /// Adds a call without a body. `path` ends with a place for a name in braces, which has letters, digits and `-_.` only.
    #[must_use]
    pub fn get(self, path: &'static str, handler: Box<Handler>) -> Self {
        let path = path.split('{').next().unwrap_or_default();
        self.add(Call { method: Method::GET, path, handler })
    }

    fn add(mut self, call: Call) -> Self {
        self.calls.push(call);
        self
    }

    /// Takes a call from the start of `unread`, and starts to answer it. `None`, and nothing is taken, if hyper must read
    /// what is there.
    pub(super) fn take(
        &self,
        unread: &mut BytesMut,
        connection: &ConnectionInfo,
    ) -> Option<BoxFuture<'static, Response<Vec<u8>>>> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(unread, &mut headers).ok()?;
        let httparse::Status::Complete(head_length) = status else { return None };
        let (method, path) = (parsed.method?, parsed.path?);
        let call = self.calls.iter().find(|call| call.is(method, path))?;
        if parsed.version != Some(1) {
            return None;
        }
        let mut request = Request::new(Bytes::new());
        let mut body_length = None;
        for header in &*parsed.headers {
            if let Some(name) =
                self.headers.iter().find(|name| header.name.eq_ignore_ascii_case(name.as_str()))
            {
                request.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
            } else {
                match Framing::of(header)? {
                    Framing::None => {}
                    Framing::Length(_) if body_length.is_some() => return None,
                    Framing::Length(length) => body_length = Some(length),
                }
            }
        }
        let is_post = call.method == Method::POST;
        if is_post != body_length.is_some() {
            return None;
        }
        let end = head_length.checked_add(body_length.unwrap_or_default())?;
        *request.body_mut() = Bytes::copy_from_slice(unread.get(head_length..end)?);
        *request.uri_mut() = path.parse::<Uri>().ok()?;
        *request.method_mut() = call.method.clone();
        unread.advance(end);
        Some((call.handler)(request, connection.clone()))
    }
}

/// What a header says about the end of a request or of the connection.
enum Framing {
    /// Nothing.
    None,
    /// The length of the body.
    Length(usize),
}

impl Framing {
    /// `None` if the header must be read by hyper.
    fn of(header: &httparse::Header<'_>) -> Option<Self> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                let is_number =
                    (1..=6).contains(&header.value.len()) && header.value.iter().all(u8::is_ascii_digit);
                let length = str::from_utf8(header.value).ok().filter(|_| is_number)?.parse().ok()?;
                Some(Self::Length(length))
            }
            10 if is("connection") => header.value.eq_ignore_ascii_case(b"keep-alive").then_some(Self::None),
            17 if is("transfer-encoding") => None,
            6 if is("expect") => None,
            7 if is("upgrade") => None,
            _ => Some(Self::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn calls() -> DirectCalls {
        let answer = || -> Box<Handler> {
            Box::new(|request, _| {
                let response = Response::new(request.body().to_vec());
                async { response }.boxed()
            })
        };
        DirectCalls::new(vec![axum::http::header::HOST])
            .post("/beat", answer())
            .get("/count/{name}", answer())
    }

    /// Takes calls from bytes. Returns the bodies of the answers, and what is left.
    fn take(bytes: &str) -> (Vec<String>, String) {
        let connection = ConnectionInfo::new("127.0.0.1:1".parse().unwrap(), true);
        let (calls, mut unread, mut answers) = (calls(), BytesMut::from(bytes), Vec::new());
        while let Some(answer) = calls.take(&mut unread, &connection) {
            let response = answer.now_or_never().expect("the answer is there");
            answers.push(String::from_utf8(response.into_body()).unwrap());
        }
        (answers, String::from_utf8(unread.to_vec()).unwrap())
    }

    #[test]
    fn complete_calls_are_taken_one_by_one() {
        let beat = "POST /beat HTTP/1.1\r\nhost: a\r\nX: y\r\nCONTENT-LENGTH: 2\r\n\r\n{}";
        let count = "GET /count/a.b-C_1 HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n";
        let (answers, rest) = take(&format!("{beat}{count}{beat}GET / "));
        assert_eq!((answers, &*rest), (vec!["{}".to_owned(), String::new(), "{}".to_owned()], "GET / "));
    }

    #[test]
    fn nothing_is_taken_of_other_requests() {
        for request in [
            "",
            "POST /beat HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\n\r",
            "POST /beat HTTP/1.1\r\n\r\n",
            "POST /beat HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
            "POST /beat?a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "POST /beat/ HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "POST http://a/beat HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "PUT /beat HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: \r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nUpgrade: h2c\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length: 2\r\nConnection: keep-alive, x\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}",
            "POST /beat HTTP/1.1\r\n folded: 2\r\nContent-Length: 2\r\n\r\n{}",
            "GET /count/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "GET /count/ HTTP/1.1\r\n\r\n",
            "GET /count/a/b HTTP/1.1\r\n\r\n",
            "GET /count/%61 HTTP/1.1\r\n\r\n",
            "GET /count/a?b HTTP/1.1\r\n\r\n",
            "HEAD /count/a HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(take(request), (Vec::new(), request.to_owned()));
        }
    }
}
