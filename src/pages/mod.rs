//! The pages: plain HTML, with the islands of [`crate::components`] in it. No logic.

mod badge;
mod channel;
mod embed;
mod home;
mod not_found;
mod player;

pub use channel::ChannelPage;
pub use embed::EmbedPage;
pub use home::HomePage;
pub use not_found::NotFoundPage;
