//! The settings of webhooks: receivers, secrets and milestones. Pure, and checked once at start.

pub mod address;
mod secret;
mod target;

pub use self::{
    secret::{InvalidSecret, SigningKey},
    target::{InvalidTarget, Target},
};

/// The most receivers.
pub const MAX_TARGETS: usize = 20;

/// The most secrets, each of which signs every delivery.
pub const MAX_KEYS: usize = 5;

/// The most milestones.
pub const MAX_MILESTONES: usize = 100;

/// The settings of webhooks.
#[derive(Debug, Clone, Default)]
pub struct WebhookSettings {
    /// The receivers. None: there are no webhooks.
    pub targets: Vec<Target>,
    /// The keys that sign, at least one if there are receivers.
    pub keys: Vec<SigningKey>,
    /// The counts that are announced once per broadcast, in ascending order.
    pub milestones: Vec<u32>,
    /// Whether private addresses and plain HTTP are allowed.
    pub allows_private: bool,
}

impl WebhookSettings {
    /// Puts settings together, and says what is wrong with them.
    #[must_use]
    pub fn new(
        targets: Vec<Target>,
        keys: Vec<SigningKey>,
        mut milestones: Vec<u32>,
        allows_private: bool,
    ) -> (Self, Vec<String>) {
        milestones.sort_unstable();
        milestones.dedup();
        let mut problems = Vec::new();
        for (nth, target) in targets.iter().enumerate() {
            if let Err(error) = target.check(allows_private) {
                problems.push(format!("WEBHOOK_URLS: {error}"));
            }
            if targets[..nth].contains(target) {
                problems.push(format!("WEBHOOK_URLS has an address of {} twice", target.host()));
            }
        }
        if !targets.is_empty() && keys.is_empty() {
            problems.push("WEBHOOK_URLS is set but WEBHOOK_SECRET is not; set both".to_owned());
        }
        for (name, length, most) in [
            ("WEBHOOK_URLS", targets.len(), MAX_TARGETS),
            ("WEBHOOK_SECRET", keys.len(), MAX_KEYS),
            ("WEBHOOK_MILESTONES", milestones.len(), MAX_MILESTONES),
        ] {
            if length > most {
                problems.push(format!("{name} has {length} entries; at most {most} are allowed"));
            }
        }
        (Self { targets, keys, milestones, allows_private }, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn problems(urls: &[&str], secrets: &[&str], allows_private: bool) -> Vec<String> {
        let targets = urls.iter().map(|url| url.parse().unwrap()).collect();
        let keys = secrets.iter().map(|secret| secret.parse().unwrap()).collect();
        WebhookSettings::new(targets, keys, Vec::new(), allows_private).1
    }

    #[test]
    fn milestones_are_sorted_and_distinct() {
        let (settings, problems) =
            WebhookSettings::new(Vec::new(), Vec::new(), vec![500, 100, 500, 1_000], false);
        assert_eq!((settings.milestones, problems.len()), (vec![100, 500, 1_000], 0));
    }

    #[test]
    fn each_problem_is_named() {
        assert!(problems(&[], &[], false).is_empty());
        assert!(
            problems(&["https://hooks.example/a", "https://hooks.example/b"], &[SECRET], false).is_empty()
        );
        assert!(problems(&["http://10.0.0.1:8080/a"], &[SECRET], true).is_empty());
        let many: Vec<String> = (0..=MAX_TARGETS).map(|nth| format!("https://hooks.example/{nth}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (urls, secrets, expected) in [
            (&["https://hooks.example/a"][..], &[][..], "WEBHOOK_SECRET is not"),
            (&["https://hooks.example/a", "https://hooks.example/a"], &[SECRET], "twice"),
            (&["http://hooks.example/a"], &[SECRET], "not encrypted"),
            (&["https://127.0.0.1/a"], &[SECRET], "private"),
            (&many, &[SECRET], "at most 20"),
            (&["https://hooks.example/a"], &[SECRET; MAX_KEYS + 1], "at most 5"),
        ] {
            let found = problems(urls, secrets, false);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
