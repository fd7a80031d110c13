//! The languages of the pages, and their texts.

pub mod badge_text;
pub mod locale;
pub mod page_text;

pub use locale::Locale;
