//! Joins by whether they came with a ticket.
//!
//! They are kept as ordinary minutes in rows of their own, whose arrivals are the joins: [`place_of`]. So they are merged
//! and kept as all minutes are, also by a node of an earlier version over the same database, which does not read them.
//! Without tickets there are no such rows.

use serde::{Deserialize, Serialize};

use super::{Arrivals, Place, arrivals::OTHER};

/// The number of joins with and without a ticket. Every join counts, so a viewer may count more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joins {
    /// Joins with a ticket.
    pub with_ticket: u32,
    /// Joins without one.
    pub without_ticket: u32,
}

/// The place that stands for a join in a minute of joins.
#[must_use]
pub const fn place_of(has_ticket: bool) -> Place<'static> {
    if has_ticket { Place::Site } else { Place::Embed(OTHER) }
}

impl Joins {
    /// The joins of a minute or tally of joins. `None` if there are none.
    #[must_use]
    pub fn of(arrivals: &Arrivals) -> Option<Self> {
        let without_ticket = arrivals.embeds.get(OTHER).copied().unwrap_or_default();
        (!arrivals.is_empty()).then_some(Self { with_ticket: arrivals.site, without_ticket })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        domain::Timestamp,
        server::history::{Minute, Tally},
    };

    const START: Timestamp = Timestamp::from_millis(1_790_000_040_000);

    fn joins(minute: &Minute) -> Option<Joins> {
        Joins::of(&Tally::of_minute(START, minute).arrivals)
    }

    proptest! {
        #[test]
        fn the_joins_of_nodes_add_up_in_any_order_and_however_often(
            joined in vec((0..3_u64, any::<bool>()), 0..50),
            written in vec(0..50_usize, 0..10),
        ) {
            // Each node writes its row again and again while it goes on.
            let (mut nodes, mut merged) = (vec![Minute::default(); 3], Minute::default());
            for (nth, (node, has_ticket)) in joined.iter().enumerate() {
                nodes[usize::try_from(*node).unwrap()].arrive(*node, place_of(*has_ticket));
                if written.contains(&nth) {
                    nodes.iter().rev().for_each(|row| merged.merge(row));
                }
            }
            for row in nodes.iter().chain(&nodes) {
                merged.merge(&Minute::decode(&row.encode()).unwrap());
            }
            let count = |has_ticket| {
                u32::try_from(joined.iter().filter(|(_, ticket)| *ticket == has_ticket).count()).unwrap()
            };
            let expected = Joins { with_ticket: count(true), without_ticket: count(false) };
            prop_assert_eq!(joins(&merged), (!joined.is_empty()).then_some(expected));
            let tally = Tally::of_minute(START, &merged);
            prop_assert_eq!(Tally::decode(&tally.encode()), Ok(tally));
        }
    }

    #[test]
    fn minutes_of_joins_have_the_form_that_earlier_versions_read() {
        let mut minute = Minute::default();
        for has_ticket in [true, false, true] {
            minute.arrive(1, place_of(has_ticket));
        }
        // Version 1, arrivals only, 60 unknown seconds, one node: 2 on the site, 1 at the host `other`.
        let stored = b"\x01\x02\x3b\x01\x01\0\0\0\0\0\0\0\x02\x01\x05other\x01";
        assert_eq!(minute.encode(), stored);
        assert_eq!(
            joins(&Minute::decode(stored).unwrap()),
            Some(Joins { with_ticket: 2, without_ticket: 1 })
        );
    }
}
