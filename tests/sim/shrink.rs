//! Shrinks a failing plan: removes and halves actions while the plan still fails.

use std::time::{Duration, Instant};

use crate::oracle::plan::{Action, ActionKind, Plan};

/// The maximum number of attempts and the maximum total time.
const TRIES: usize = 300;
const TIME: Duration = Duration::from_secs(60);

/// The smallest plan found that still fails.
pub fn shrink(mut plan: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let (mut tries, began) = (0, Instant::now());
    let mut still = |plan: &Plan| {
        tries += 1;
        tries <= TRIES && began.elapsed() < TIME && fails(plan)
    };
    // Remove large groups of actions first, then smaller ones, down to single actions.
    let mut size = plan.actions.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < plan.actions.len() {
            let mut less = plan.clone();
            less.actions.drain(at..(at + size).min(less.actions.len()));
            if still(&less) {
                plan = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..plan.actions.len() {
        while let Some(action) = halved(&plan.actions[at]) {
            let mut less = plan.clone();
            less.actions[at] = action;
            if !still(&less) {
                break;
            }
            plan = less;
        }
    }
    plan
}

/// The action with half the duration or half the calls.
fn halved(action: &Action) -> Option<Action> {
    let mut half = action.clone();
    let amount = match &mut half.kind {
        ActionKind::Call(_) => return None,
        ActionKind::Watch { lasts, .. }
        | ActionKind::Churn { lasts, .. }
        | ActionKind::Fault { lasts, .. } => lasts,
        ActionKind::Flood(flood) => &mut flood.calls,
    };
    if *amount < 2 {
        return None;
    }
    *amount /= 2;
    Some(half)
}
