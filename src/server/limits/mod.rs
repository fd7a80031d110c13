//! What one address, and all together, may take of the server. A limit of 0 is none.

pub mod address;
pub mod streams;

pub use self::{
    address::{Address, Proxies},
    streams::{Seat, Streams},
};
