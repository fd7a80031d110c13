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
        self.0.replace("{channel}", channel.as_str())
    }
}

impl FromStr for StreamTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_ours = text.starts_with('/') && !text.starts_with("//");
        let is_address = (is_ours || text.starts_with("https://")) && !text.contains(char::is_whitespace);
        if is_address && text.contains("{channel}") {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTemplate)
        }
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
    fn what_no_page_may_load_is_refused() {
        for text in [
            "",
            "https://cdn.example/index.m3u8",
            "http://cdn.example/{channel}",
            "javascript:{channel}",
            "//{channel}",
            "https://a b/{channel}",
        ] {
            assert_eq!(text.parse::<StreamTemplate>(), Err(InvalidTemplate), "{text:?}");
        }
    }
}
