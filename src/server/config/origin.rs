//! Origins in the settings.

use std::str::FromStr;

use axum::http::Uri;

/// An origin in the settings: `https://partner.example`, `null` for sandboxed frames, or `*` for every origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Whether the value of an `Origin` header matches.
    #[must_use]
    pub fn matches(&self, header: &[u8]) -> bool {
        self.0 == "*" || self.0.as_bytes().eq_ignore_ascii_case(header)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let is_site = |uri: &Uri| uri.scheme().is_some() && uri.host().is_some() && uri.path() == "/";
        if text == "*" || text == "null" || text.parse::<Uri>().is_ok_and(|uri| is_site(&uri)) {
            Ok(Self(text))
        } else {
            Err("not an origin such as https://partner.example".to_owned())
        }
    }
}
