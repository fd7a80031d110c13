//! Whether the nodes of a store keep channels in the same parts. Otherwise their counts would be wrong.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::server::store::{Difference, StoreError};

/// How long the store has to accept the setting of a node that was refused before, or could not ask when it started. Nodes
/// that agree claim their shares every second. If the store was away or has lost the shares, they come first.
const PROBATION: Duration = Duration::from_secs(3);

/// What a node knows of the setting of the others.
#[derive(Default)]
pub(super) struct Agreement(Mutex<State>);

#[derive(Default)]
enum State {
    /// The node has just started.
    #[default]
    New,
    /// The nodes agree.
    Same,
    /// The store has not answered yet, or the nodes did not agree. `accepted`: since when the store accepts the setting.
    Doubtful { difference: Option<Difference>, accepted: Option<Instant> },
}

impl Agreement {
    /// Called before the store is asked. Returns whether this node may put its setting into the store, and not only ask
    /// whether it would be accepted.
    pub(super) fn ask(&self) -> bool {
        match &mut *self.0.lock() {
            // The answer may never come.
            state @ State::New => {
                *state = State::Doubtful { difference: None, accepted: None };
                true
            }
            State::Same => true,
            State::Doubtful { accepted, .. } => accepted.is_some_and(|since| since.elapsed() >= PROBATION),
        }
    }

    /// Takes note that the store did not answer.
    pub(super) fn not_answered(&self) {
        if let State::Doubtful { accepted, .. } = &mut *self.0.lock() {
            *accepted = None;
        }
    }

    /// Takes note of an answer: a difference, or none. `has_claimed`: the question was a claim. Returns the difference for
    /// which the node is refused.
    pub(super) fn answered(&self, answer: Option<Difference>, has_claimed: bool) -> Option<Difference> {
        let mut state = self.0.lock();
        match (answer, &mut *state) {
            (Some(difference), _) => {
                let refused = Some(difference.clone());
                *state = State::Doubtful { difference: Some(difference), accepted: None };
                refused
            }
            (None, State::Doubtful { difference, accepted }) if !has_claimed => {
                accepted.get_or_insert_with(Instant::now);
                difference.clone()
            }
            (None, _) => {
                *state = State::Same;
                None
            }
        }
    }

    /// Whether counts are certain.
    ///
    /// # Errors
    /// When the node is refused.
    pub(super) fn check(&self) -> Result<bool, StoreError> {
        match &*self.0.lock() {
            State::Same => Ok(true),
            State::New | State::Doubtful { difference: None, .. } => Ok(false),
            State::Doubtful { difference: Some(difference), .. } => {
                Err(StoreError::Refused(difference.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn difference() -> Option<Difference> {
        Some(Difference::ChannelParts("4".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_node_waits_until_those_that_agree_have_claimed() {
        let agreement = Agreement::default();
        assert!(agreement.ask() && agreement.check().is_ok_and(|is_certain| !is_certain));
        assert_eq!(agreement.answered(difference(), true), difference());
        for _ in 0..2 {
            assert!(!agreement.ask() && agreement.check().is_err());
            assert_eq!(agreement.answered(None, false), difference(), "it is still refused");
            advance(PROBATION / 2).await;
            assert!(!agreement.ask());
            // The others come back.
            assert_eq!(agreement.answered(difference(), false), difference());
        }
        agreement.answered(None, false);
        advance(PROBATION).await;
        assert!(agreement.ask());
        assert_eq!(agreement.answered(None, true), None);
        assert!(agreement.ask() && agreement.check().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_node_that_starts_while_the_store_is_away_has_to_wait() {
        let (late, early) = (Agreement::default(), Agreement::default());
        assert!(late.ask() && early.ask());
        early.answered(None, true);
        early.not_answered();
        assert!(early.ask() && early.check().unwrap());
        assert!(!late.ask() && late.check().is_ok_and(|is_certain| !is_certain));
        assert_eq!(late.answered(None, false), None);
        advance(PROBATION).await;
        // Another failure, and the wait begins again.
        late.not_answered();
        assert!(!late.ask());
        late.answered(None, false);
        advance(PROBATION).await;
        assert!(late.ask());
    }
}
