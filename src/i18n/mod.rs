//! The languages and texts of the pages.

pub mod badge_text;
pub mod locale;
pub mod page_text;

pub use locale::Locale;
