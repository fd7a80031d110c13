//! Where the streams of channels are.

use std::str::FromStr;

use super::ChannelId;

/// The address of every channel's stream, with `{channel}` in the place of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTemplate(String);

/// The text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address such as https://cdn.example/{{channel}}/index.m3u8 (or one on this site, from / on)")]
pub struct InvalidTemplate;

impl StreamTemplate {
    /// The address of a channel's stream. Names need no escaping.
    #[must_use]
    pub fn url(&self, channel: &ChannelId) -> String {
        self.0.replace(PLACE, channel.as_str())
    }

    /// The origin that a channel's stream comes from, as in `https://cdn.example`; `None` if that is this site.
    #[must_use]
    pub fn origin(&self, channel: &ChannelId) -> Option<String> {
        let address = self.0.strip_prefix(SCHEME)?;
        Some([SCHEME, host(address)].concat().replace(PLACE, channel.as_str()))
    }
}

/// What stands for the name of the channel.
const PLACE: &str = "{channel}";
const SCHEME: &str = "https://";

/// The host, and port, that an address without its scheme begins with.
fn host(address: &str) -> &str {
    address.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !text.is_empty() && text.replace(PLACE, "c").chars().all(allowed)
}

impl FromStr for StreamTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_ours = text.starts_with('/') && !text.starts_with("//");
        let is_theirs = text.strip_prefix(SCHEME).is_some_and(|address| is_host(host(address)));
        let is_address = (is_ours || is_theirs) && !text.contains(char::is_whitespace);
        if is_address && text.contains(PLACE) { Ok(Self(text.to_owned())) } else { Err(InvalidTemplate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_put_in_wherever_its_place_is() {
        let template: StreamTemplate = "https://{channel}.cdn.example/{channel}/index.m3u8".parse().unwrap();
        let channel = ChannelId::parse("ana.tv").unwrap();
        assert_eq!(template.url(&channel), "https://ana.tv.cdn.example/ana.tv/index.m3u8");
        assert!("/hls/{channel}.m3u8".parse::<StreamTemplate>().is_ok());
    }

    #[test]
    fn the_origin_is_all_that_a_page_has_to_load_from() {
        let channel = ChannelId::parse("ana").unwrap();
        for (template, origin) in [
            ("https://cdn.example/{channel}/index.m3u8", Some("https://cdn.example")),
            ("https://cdn.example:8443?channel={channel}", Some("https://cdn.example:8443")),
            ("https://{channel}.cdn.example/index.m3u8", Some("https://ana.cdn.example")),
            ("/hls/{channel}/index.m3u8", None),
        ] {
            let template: StreamTemplate = template.parse().unwrap();
            assert_eq!(template.origin(&channel).as_deref(), origin);
        }
    }

    #[test]
    fn what_no_page_may_load_is_refused() {
        for text in [
            "",
            "https://cdn.example/index.m3u8",
            "http://cdn.example/{channel}",
            "javascript:{channel}",
            "//{channel}",
            "https://a b/{channel}",
            "https:///{channel}",
            "https://cdn.example;script-src/{channel}",
            "https://'self'/{channel}",
        ] {
            assert_eq!(text.parse::<StreamTemplate>(), Err(InvalidTemplate), "{text:?}");
        }
    }
}
