//! The addresses of the page and of its data. All of them keep the token and the time zone.

use super::{Asked, Range, Shown};
use crate::domain::{ChannelId, Timestamp};

/// Makes addresses.
#[derive(Debug, Clone)]
pub(super) struct Links {
    channel: ChannelId,
    asked: Asked,
}

impl Links {
    pub(super) fn new(channel: &ChannelId, asked: &Asked) -> Self {
        Self { channel: channel.clone(), asked: asked.clone() }
    }

    /// This page.
    pub(super) fn here(&self) -> String {
        self.page(self.asked.range, self.asked.broadcast, self.asked.before)
    }

    /// Another range.
    pub(super) fn range(&self, range: Range) -> String {
        self.page(Some(range), None, None)
    }

    /// A broadcast.
    pub(super) fn broadcast(&self, started_at: Timestamp) -> String {
        self.page(Some(Range::Broadcast), Some(started_at), self.asked.before)
    }

    /// The same range, with the broadcasts that started before.
    pub(super) fn before(&self, before: Option<Timestamp>) -> String {
        self.page(self.asked.range, self.asked.broadcast, before) + "#broadcasts"
    }

    /// The data of a range as CSV.
    pub(super) fn csv(&self, shown: &Shown) -> String {
        let (from, to) = (shown.from.as_millis().to_string(), shown.to.as_millis().to_string());
        let fields = [("from", Some(from)), ("to", Some(to)), ("step", Some(shown.step.to_string()))];
        let path = format!("/api/channel/{}/history.csv", self.channel);
        address(&path, fields.into_iter().chain(self.kept()))
    }

    /// The path of the page, for a form.
    pub(super) fn path(&self) -> String {
        format!("/{}/stats", self.channel)
    }

    /// What a form has to repeat so that it leads to the same range: names and values.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let range = self.asked.range.map(|range| range.as_str().to_owned());
        let broadcast = self.asked.broadcast.map(millis);
        let fields = [("range", range), ("broadcast", broadcast), ("token", self.asked.token.clone())];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn page(&self, range: Option<Range>, broadcast: Option<Timestamp>, before: Option<Timestamp>) -> String {
        let fields = [
            ("range", range.map(|range| range.as_str().to_owned())),
            ("broadcast", broadcast.map(millis)),
            ("before", before.map(millis)),
        ];
        address(&self.path(), fields.into_iter().chain(self.kept()))
    }

    fn kept(&self) -> [(&'static str, Option<String>); 2] {
        [("tz", self.asked.zone.clone()), ("token", self.asked.token.clone())]
    }
}

fn millis(at: Timestamp) -> String {
    at.as_millis().to_string()
}

fn address(path: &str, fields: impl Iterator<Item = (&'static str, Option<String>)>) -> String {
    let fields: Vec<_> = fields.filter_map(|(name, value)| Some((name, value?))).collect();
    // Strings can always be encoded.
    let query = serde_urlencoded::to_string(&fields).unwrap_or_default();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_the_token_and_the_zone() {
        let channel = ChannelId::parse("ana").unwrap();
        let links = Links::new(&channel, &Asked::default());
        assert_eq!(links.here(), "/ana/stats");
        assert_eq!(links.range(Range::Week), "/ana/stats?range=7d");
        let asked = Asked {
            range: Some(Range::Day),
            before: Some(Timestamp::from_millis(7)),
            zone: Some("America/Lima".to_owned()),
            token: Some("a.b&c=\"d".to_owned()),
            ..Asked::default()
        };
        let links = Links::new(&channel, &asked);
        let kept = "tz=America%2FLima&token=a.b%26c%3D%22d";
        assert_eq!(links.here(), format!("/ana/stats?range=24h&before=7&{kept}"));
        assert_eq!(
            links.broadcast(Timestamp::from_millis(5)),
            format!("/ana/stats?range=broadcast&broadcast=5&before=7&{kept}")
        );
        assert_eq!(links.before(None), format!("/ana/stats?range=24h&{kept}#broadcasts"));
        let fields = [("range", "24h".to_owned()), ("token", "a.b&c=\"d".to_owned())];
        assert_eq!(links.fields(), fields);
    }
}
