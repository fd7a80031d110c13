use crate::domain::ChannelId;

/// A channel's name as HTML that may be broken after its dots and underscores, where browsers would not break it.
///
/// Names hold no character that HTML gives a meaning to.
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
