//! A minimal HTTP/1.1 parser for responses of calls and for event streams.

/// The maximum size of a response head.
const MAX_HEAD: usize = 16 * 1024;

/// A malformed response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// The head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// The offset of the body.
    pub len: usize,
    pub content_length: Option<usize>,
    pub is_chunked: bool,
}

impl Head {
    /// Parses the head at the start of `bytes`; `None` if it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > MAX_HEAD { Err(Malformed("the head is too long")) } else { Ok(None) };
        };
        let mut lines = bytes[..end].split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix(b"HTTP/1.").and_then(|rest| digits(rest.get(2..5)?));
        let status = status.and_then(|status| u16::try_from(status).ok());
        let mut head = Self {
            status: status.ok_or(Malformed("no status line"))?,
            len: end + 4,
            content_length: None,
            is_chunked: false,
        };
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                head.content_length = Some(digits(value).ok_or(Malformed("invalid content length"))?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                head.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            }
        }
        Ok(Some(head))
    }
}

/// A response to a call, with a known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The offsets of the start and the end of the body.
    pub body: (usize, usize),
}

impl Response {
    /// Parses the response at the start of `bytes`; `None` if it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(head) = Head::parse(bytes)? else { return Ok(None) };
        if head.is_chunked {
            return Err(Malformed("unexpected chunked response"));
        }
        let end = head.len + head.content_length.unwrap_or(0);
        Ok((bytes.len() >= end).then_some(Self { status: head.status, body: (head.len, end) }))
    }
}

/// Something that has arrived on an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// The response head, with its status.
    Open(u16),
    /// An event with a count.
    Count(u64),
    /// Another event.
    Other,
}

/// A parser for an event stream that arrives in pieces of any size.
#[derive(Debug, Default)]
pub struct EventStream {
    part: Part,
    /// The bytes of an incomplete head or line.
    partial: Vec<u8>,
    /// The current event.
    event: Option<StreamEvent>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Part {
    #[default]
    Head,
    /// The line with the size of a chunk, with the size read so far.
    Size(usize),
    /// A chunk, with its remaining number of bytes.
    Chunk(usize),
    /// The line break after a chunk.
    Gap,
    /// A body that is not chunked.
    Plain,
}

impl EventStream {
    /// Parses received bytes. Calls `emit` for everything that has arrived.
    pub fn feed(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(StreamEvent)) -> Result<(), Malformed> {
        while let Some(first) = bytes.first().copied() {
            match self.part {
                Part::Head => {
                    let before = self.partial.len();
                    self.partial.extend_from_slice(bytes);
                    let Some(head) = Head::parse(&self.partial)? else { return Ok(()) };
                    bytes = &bytes[head.len - before..];
                    self.partial = Vec::new();
                    self.part = if head.is_chunked { Part::Size(0) } else { Part::Plain };
                    emit(StreamEvent::Open(head.status));
                }
                Part::Size(size) => {
                    bytes = &bytes[1..];
                    self.part = match (first, char::from(first).to_digit(16)) {
                        (b'\r', _) => Part::Size(size),
                        (b'\n', _) if size == 0 => return Err(Malformed("the stream has ended")),
                        (b'\n', _) => Part::Chunk(size),
                        (_, Some(digit)) if size < 1 << 32 => Part::Size(size * 16 + digit as usize),
                        _ => return Err(Malformed("invalid chunk size")),
                    };
                }
                Part::Chunk(left) => {
                    let (chunk, rest) = bytes.split_at(left.min(bytes.len()));
                    self.lines(chunk, emit);
                    self.part = if chunk.len() == left { Part::Gap } else { Part::Chunk(left - chunk.len()) };
                    bytes = rest;
                }
                Part::Gap => {
                    bytes = &bytes[1..];
                    self.part = if first == b'\n' { Part::Size(0) } else { Part::Gap };
                }
                Part::Plain => {
                    self.lines(bytes, emit);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8], emit: &mut impl FnMut(StreamEvent)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if piece.last() != Some(&b'\n') {
                self.partial.extend_from_slice(piece);
            } else if self.partial.is_empty() {
                self.line(piece, emit);
            } else {
                self.partial.extend_from_slice(piece);
                let line = std::mem::take(&mut self.partial);
                self.line(&line, emit);
            }
        }
    }

    fn line(&mut self, line: &[u8], emit: &mut impl FnMut(StreamEvent)) {
        if let Some(data) = line.strip_prefix(b"data:") {
            self.event = Some(count(data).map_or(StreamEvent::Other, StreamEvent::Count));
        } else if matches!(line, b"\n" | b"\r\n")
            && let Some(event) = self.event.take()
        {
            emit(event);
        }
    }
}

/// The number after `"count":`.
pub fn count(json: &[u8]) -> Option<u64> {
    let value = &json[find(json, b"\"count\":")? + 8..];
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    digits(&value[..end]).map(|count| count as u64)
}

fn digits(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        e\r\nretry: 1234\n\n\n\r\n\
        1F\r\nid: 7\ndata: {\"a\":1,\"count\":12}\n\r\n1\r\n\n\r\n\
        1b\r\nevent: tick\r\ndata: {}\r\n\r\n\n\r\n";
    const EVENTS: [StreamEvent; 3] = [StreamEvent::Open(200), StreamEvent::Count(12), StreamEvent::Other];

    #[test]
    fn a_response_is_parsed_when_it_is_complete() {
        let text = b"HTTP/1.1 404 Not Found\r\nX: y\r\nCONTENT-LENGTH:  4\r\n\r\nbodyHTTP";
        let complete = text.len() - 4;
        for end in 0..complete {
            assert_eq!(Response::parse(&text[..end]), Ok(None), "{end}");
        }
        let response = Response::parse(text).unwrap().unwrap();
        assert_eq!(response, Response { status: 404, body: (complete - 4, complete) });
        assert_eq!(Response::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().status, 204);
    }

    #[test]
    fn malformed_responses_are_rejected() {
        for text in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[b'a'; MAX_HEAD + 1],
        ] {
            assert!(
                Response::parse(text).is_err(),
                "{:?}",
                String::from_utf8_lossy(&text[..20.min(text.len())])
            );
        }
    }

    #[test]
    fn a_stream_is_parsed_the_same_in_pieces_of_any_size() {
        for size in 1..=STREAM.len() {
            let mut stream = EventStream::default();
            let mut events = Vec::new();
            for piece in STREAM.chunks(size) {
                stream.feed(piece, &mut |event| events.push(event)).unwrap();
            }
            assert_eq!(events, EVENTS, "in pieces of {size}");
        }
    }

    #[test]
    fn unchunked_streams_and_the_end_of_a_stream_are_recognized() {
        let mut events = Vec::new();
        let plain = b"HTTP/1.1 200 OK\r\n\r\ndata: {\"count\":3}\n\ndata: {\"cou";
        EventStream::default().feed(plain, &mut |event| events.push(event)).unwrap();
        assert_eq!(events, [StreamEvent::Open(200), StreamEvent::Count(3)]);
        let mut ended = EventStream::default();
        ended.feed(STREAM, &mut |_| ()).unwrap();
        assert!(ended.feed(b"0\r\n\r\n", &mut |_| ()).is_err());
    }

    #[test]
    fn only_numeric_counts_are_parsed() {
        assert_eq!(count(br#"{"count":40,"stale":false}"#), Some(40));
        assert_eq!(count(br#"{"count":null}"#), None);
        assert_eq!(count(b"{}"), None);
    }
}
