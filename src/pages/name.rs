use crate::domain::ChannelId;

/// A channel's name as HTML with optional line breaks (`<wbr>`) after dots and underscores.
///
/// Channel names contain no characters that need escaping in HTML.
pub(super) fn breakable(channel: &ChannelId) -> String {
    channel.as_str().replace('.', ".<wbr>").replace('_', "_<wbr>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_break_after_dots_and_underscores() {
        let html = |name| breakable(&ChannelId::parse(name).unwrap());
        assert_eq!(html("ana_maria.tv-2"), "ana_<wbr>maria.<wbr>tv-2");
        assert_eq!(html("ana"), "ana");
    }
}
