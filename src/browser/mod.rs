//! The state machines of a page: pure code without timers, requests or a DOM. The hooks drive them.

pub mod tab_sync;
pub mod tracker;
pub mod watchdog;

pub use tab_sync::TabSync;
pub use tracker::Tracker;
