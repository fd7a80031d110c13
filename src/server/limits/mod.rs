//! What one address, and all together, may take of the server. A limit of 0 is none.

pub mod address;
pub mod beats;
pub mod rate;
pub mod streams;

pub use self::{
    address::{Address, Proxies},
    beats::{Beats, PerAddress},
    rate::Rate,
    streams::{Seat, Streams},
};
