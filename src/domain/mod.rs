//! The rules of counting: pure code without I/O, async, clocks or Leptos. The server and the browser half compile it.
//!
//! The words of the domain, used throughout the code:
//!
//! - **channel** ([`ChannelId`]): a streamer's username.
//! - **viewer** ([`ViewerId`]): one browser, which stands for one person.
//! - **session** ([`SessionId`]): one loaded page of a viewer.
//! - **beat**: a join or a heartbeat. It sets the session's lease.
//! - **lease**: the time for which a session counts without another beat.
//! - **count** ([`Count`]): the number of distinct viewers with a live lease.
//! - **live signal** ([`signal`]): whether a channel is on air, as the operator or a video server reports it.
//!
//! Read [`roster`] first: it implements the rules of counting in one data structure.

pub mod channel;
pub mod count;
pub mod ledger;
pub mod op;
pub mod policy;
pub mod roster;
pub mod session;
pub mod signal;
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
pub use signal::{Live, LiveMode};
pub use stream_template::StreamTemplate;
pub use timestamp::Timestamp;
pub use viewer::{SessionId, SessionKey, ViewerId};
