//! The pages: plain HTML that contains the islands of [`crate::islands`]. No logic.

#![allow(unreachable_pub, reason = "the macros of components make them public")]

mod about;
mod badge;
mod brand;
mod browser_scripts;
mod channel;
mod embed;
mod follow;
mod home;
mod legend;
mod live;
mod name;
mod not_found;
mod note;
mod overlay;
mod pill;
mod player;
pub mod request;
mod share;
pub mod stats;

pub use about::SiteOrigin;
pub use badge::TicketsRequired;
pub use channel::ChannelPage;
pub use embed::EmbedPage;
pub use home::HomePage;
pub use not_found::{InvalidNamePage, NotFoundPage};
pub use overlay::{OverlayHead, OverlayPage};
pub use share::{EmbedSize, embed_code};
pub use stats::{StatsLink, StatsPage};
