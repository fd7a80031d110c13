//! The address template of the channels' video streams.

use std::str::FromStr;

use super::ChannelId;

/// The address of a channel's stream, with `{channel}` as the placeholder for the channel name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTemplate(String);

/// The text is not a valid template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an https:// or http:// address or a path with {{channel}}, as in \
     https://cdn.example/{{channel}}/index.m3u8"
)]
pub struct InvalidTemplate;

impl StreamTemplate {
    /// The address of a channel's stream. Channel names need no escaping in URLs.
    #[must_use]
    pub fn url(&self, channel: &ChannelId) -> String {
        self.0.replace(PLACEHOLDER, channel.as_str())
    }

    /// The origin of a channel's stream, such as `https://cdn.example`; `None` if it is this site's.
    #[must_use]
    pub fn origin(&self, channel: &ChannelId) -> Option<String> {
        let (scheme, address) = split(&self.0)?;
        Some([scheme, host(address)].concat().replace(PLACEHOLDER, channel.as_str()))
    }

    /// Whether streams come over plain HTTP from another site. Browsers block them on pages of `https://`.
    #[must_use]
    pub fn is_unencrypted(&self) -> bool {
        self.0.starts_with(HTTP)
    }
}

/// The placeholder for the channel name.
const PLACEHOLDER: &str = "{channel}";
const HTTPS: &str = "https://";
const HTTP: &str = "http://";

/// The scheme of an address, and what follows it. `None` if it has another scheme or none.
fn split(text: &str) -> Option<(&'static str, &str)> {
    [HTTPS, HTTP].into_iter().find_map(|scheme| Some((scheme, text.strip_prefix(scheme)?)))
}

/// The host and port of an address without a scheme.
fn host(address: &str) -> &str {
    address.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_host(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !text.is_empty() && text.replace(PLACEHOLDER, "c").chars().all(allowed)
}

impl FromStr for StreamTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_path = text.starts_with('/') && !text.starts_with("//");
        let is_of_site = split(text).is_some_and(|(_, address)| is_host(host(address)));
        let is_address = (is_path || is_of_site) && !text.contains(char::is_whitespace);
        if is_address && text.contains(PLACEHOLDER) {
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
    fn replaces_every_placeholder() {
        let template: StreamTemplate = "https://{channel}.cdn.example/{channel}/index.m3u8".parse().unwrap();
        let channel = ChannelId::parse("ana.tv").unwrap();
        assert_eq!(template.url(&channel), "https://ana.tv.cdn.example/ana.tv/index.m3u8");
        assert!("/hls/{channel}.m3u8".parse::<StreamTemplate>().is_ok());
    }

    #[test]
    fn returns_the_origin_of_a_stream_on_another_site() {
        let channel = ChannelId::parse("ana").unwrap();
        for (template, origin) in [
            ("https://cdn.example/{channel}/index.m3u8", Some("https://cdn.example")),
            ("https://cdn.example:8443?channel={channel}", Some("https://cdn.example:8443")),
            ("https://{channel}.cdn.example/index.m3u8", Some("https://ana.cdn.example")),
            ("http://cdn.example:8080/{channel}/index.m3u8", Some("http://cdn.example:8080")),
            ("http://192.168.1.20/hls/{channel}.m3u8", Some("http://192.168.1.20")),
            ("/hls/{channel}/index.m3u8", None),
        ] {
            let template: StreamTemplate = template.parse().unwrap();
            assert_eq!(template.origin(&channel).as_deref(), origin);
        }
    }

    #[test]
    fn tells_plain_http_of_another_site() {
        for (template, is_unencrypted) in [
            ("http://cdn.example/{channel}/index.m3u8", true),
            ("https://cdn.example/{channel}/index.m3u8", false),
            ("/http://{channel}", false),
        ] {
            let template: StreamTemplate = template.parse().unwrap();
            assert_eq!(template.is_unencrypted(), is_unencrypted, "{template:?}");
        }
    }

    #[test]
    fn rejects_invalid_templates() {
        for text in [
            "",
            "https://cdn.example/index.m3u8",
            "http://cdn.example/index.m3u8",
            "ftp://cdn.example/{channel}",
            "javascript:{channel}",
            "//{channel}",
            "https://a b/{channel}",
            "https:///{channel}",
            "http:///{channel}",
            "https://cdn.example;script-src/{channel}",
            "https://'self'/{channel}",
        ] {
            assert_eq!(text.parse::<StreamTemplate>(), Err(InvalidTemplate), "{text:?}");
        }
    }
}
