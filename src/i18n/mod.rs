//! The languages and texts of the pages.

pub mod badge_text;
mod figures;
pub mod locale;
pub mod page_text;
pub mod stats_text;

pub use locale::Locale;
