//! What a count *is*: pure code, without I/O, async, a clock or Leptos. Both halves of the product compile it.
//!
//! One word per concept, here and everywhere else:
//!
//! - **channel** ([`ChannelId`]): a streamer's username.
//! - **viewer** ([`ViewerId`]): one browser, that is one person.
//! - **session** ([`SessionId`]): one loaded page of a viewer.
//! - **beat**: a join or a heartbeat. It sets the session's lease.
//! - **lease**: until when a session counts without another beat.
//! - **count** ([`Count`]): how many distinct viewers have a live lease.
//!
//! Read [`roster`] first: it is the whole product in one data structure.

#![warn(missing_docs)]

pub mod channel;
pub mod count;
pub mod ledger;
pub mod op;
pub mod policy;
pub mod roster;
pub mod session;
pub mod stream_template;
pub mod timestamp;
pub mod viewer;

pub use channel::ChannelId;
pub use count::{Count, CountUpdate};
pub use ledger::Ledger;
pub use op::{Act, Op};
pub use policy::Policy;
pub use roster::Roster;
pub use session::{LeaseRules, Session};
pub use stream_template::StreamTemplate;
pub use timestamp::Timestamp;
pub use viewer::{SessionId, SessionKey, ViewerId};
