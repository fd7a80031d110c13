//! The server half. Modules in the order in which they stand on each other:
//!
//! [`clock`], [`metrics`], [`background`], [`limits`], [`listen`], [`origins`], [`request_id`], [`robots`] → [`config`],
//! [`telemetry`] → [`store`] → [`settings`], [`fanout`], [`follow`] → [`presence`] → [`visitor`] → [`calls`], [`follow_call`],
//! [`front`], [`openapi`], [`reads`], [`badge`], [`sse`], [`health`], [`files`], [`html`], [`site`] → [`router`] → [`boot`].

#![warn(missing_docs)]

pub mod background;
pub mod badge;
pub mod boot;
pub mod calls;
pub mod clock;
pub mod config;
pub mod fanout;
pub mod files;
pub mod follow;
pub mod follow_call;
pub mod front;
pub mod health;
pub mod html;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod openapi;
pub mod origins;
pub mod presence;
pub mod problem;
pub mod reads;
pub mod request_id;
pub mod robots;
pub mod router;
pub mod settings;
pub mod site;
pub mod sse;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod visitor;
