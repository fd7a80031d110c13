//! The requests of viewers, as bytes.

/// Numbered viewers. Each one watches one channel with one page.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    pub viewers: u64,
    pub channels: u64,
}

/// An endpoint that a viewer's page calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Join,
    Heartbeat,
    Leave,
    Count,
}

impl Call {
    pub const ALL: [Self; 4] = [Self::Join, Self::Heartbeat, Self::Count, Self::Leave];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Heartbeat => "heartbeat",
            Self::Leave => "leave",
            Self::Count => "count",
        }
    }
}

impl Audience {
    /// The channel of a viewer.
    pub fn channel(&self, viewer: u64) -> String {
        channel(viewer % self.channels)
    }

    /// The request of a viewer.
    pub fn request(&self, call: Call, viewer: u64) -> Vec<u8> {
        let channel = self.channel(viewer);
        match call {
            Call::Count => get(&format!("/api/viewer/count/{channel}")),
            Call::Join | Call::Heartbeat | Call::Leave => {
                let (viewer, session) = (uuid(4, viewer), uuid(5, viewer));
                let body =
                    format!(r#"{{"channelId":"{channel}","viewerId":"{viewer}","sessionId":"{session}"}}"#);
                post(&format!("/api/viewer/{}", call.name()), &body)
            }
        }
    }

    /// The requests of all viewers, in an endless loop.
    pub fn round(self, call: Call) -> impl FnMut() -> Vec<u8> {
        let requests: Vec<_> = (0..self.viewers).map(|viewer| self.request(call, viewer)).collect();
        let mut next = 0;
        move || {
            next = (next + 1) % requests.len();
            requests[next].clone()
        }
    }

    /// The requests of all viewers, once. They are built on demand, since they may not fit into memory.
    pub fn once(self, call: Call) -> impl FnMut() -> Vec<u8> {
        let mut next = 0;
        move || {
            next += 1;
            self.request(call, next - 1)
        }
    }
}

/// The name of a channel.
pub fn channel(number: u64) -> String {
    format!("channel-{number}")
}

/// A deterministic id for two numbers.
pub fn uuid(kind: u32, number: u64) -> String {
    // Spread like random ids: consecutive numbers must not have similar ids.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (spread >> 32, spread & 0xffff_ffff);
    format!("{high:08x}-{kind:04x}-4000-8000-{:04x}{low:08x}", number & 0xffff)
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n").into_bytes()
}

/// A browser's request for an event stream. Nchan requires the `Accept` header.
pub fn stream(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: load\r\nAccept: text/event-stream\r\n\r\n").into_bytes()
}

pub fn post(path: &str, json: &str) -> Vec<u8> {
    let length = json.len();
    format!("POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn viewers_differ_and_are_spread_over_channels() {
        let ids: HashSet<_> = (0..100_000).map(|viewer| uuid(4, viewer)).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()));
        let audience = Audience { viewers: 10, channels: 4 };
        let channels: HashSet<_> = (0..10).map(|viewer| audience.channel(viewer)).collect();
        assert_eq!(channels.len(), 4);
    }

    #[test]
    fn the_content_length_matches_the_body() {
        let request = String::from_utf8(Audience { viewers: 1, channels: 1 }.request(Call::Join, 0)).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.contains("channel-0") && head.starts_with("POST /api/viewer/join "));
    }
}
