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
        let is_site = |uri: &Uri| {
            let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
            // A `Uri` has no fragment, so it would be ignored.
            let has_page = uri.path() != "/" || text.contains(['?', '#']);
            uri.scheme().is_some() && uri.host().is_some() && !has_page && !has_user
        };
        if text == "*" || text == "null" {
            return Ok(Self(text));
        }
        if text.contains('*') {
            return Err(
                "not one origin; wildcards within a host are not supported, so list each origin, or * for all"
                    .to_owned(),
            );
        }
        if !text.parse::<Uri>().is_ok_and(|uri| is_site(&uri)) {
            return Err("not an origin such as https://partner.example".to_owned());
        }
        // Browsers leave out the port that the scheme implies.
        let port = match text.split_once(':') {
            Some(("https", _)) => ":443",
            Some(("http", _)) => ":80",
            _ => "",
        };
        Ok(Self(text.strip_suffix(port).unwrap_or(&text).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(setting: &str, header: &str) -> bool {
        setting.parse::<Origin>().unwrap().matches(header.as_bytes())
    }

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        for setting in ["https://partner.example", "https://Partner.Example/", "https://partner.example:443"]
        {
            assert!(matches(setting, "https://partner.example"), "{setting}");
        }
        assert!(matches("http://partner.example:80", "http://partner.example"));
        assert!(matches("https://partner.example:8443", "https://partner.example:8443"));
        assert!(!matches("https://partner.example:80", "https://partner.example"));
        assert!(matches("capacitor://localhost:80", "capacitor://localhost:80"));
        assert!(matches("*", "https://any.example") && matches("null", "null"));
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in ["partner", "https://", "https://me@partner.example", ""] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
        for text in
            ["https://partner.example/page", "https://partner.example?page", "https://partner.example/#page"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
        for text in ["https://*.partner.example", "https://partner.example:*", "**"] {
            assert!(text.parse::<Origin>().unwrap_err().contains("wildcards within a host"), "{text:?}");
        }
    }
}
