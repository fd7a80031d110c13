//! What a hook may ask of its surroundings. Two files have the same names in them: `browser` does things, `server` is
//! inert, for hooks run there too while a page is rendered. The one that fits is compiled, and callers need no gate.
//!
//! | name | in the browser | while rendering on the server |
//! |---|---|---|
//! | `now` | milliseconds since the epoch | 0 |
//! | `random` | from 0 to 1 | 0 |
//! | `new_id` | a fresh UUID | empty |
//! | `viewer_id` | this browser's, kept in `localStorage` where that is allowed | empty |
//! | `is_hidden`, `is_prerendering` | what the document says | false |
//! | `on_page_event` | calls back until the guard is dropped | nothing |
//! | `after` | calls back once, unless the guard is dropped before | nothing |
//! | `send_beacon` | a POST that outlives the page | nothing |
//! | `EventStream::open` | an open event stream, closed when dropped | nothing |
//! | `Local` | a value of this thread | nothing: a page may be dropped on another thread than it was made on |
//! | `set_not_found` | nothing | the page is answered with 404 |
//! | `accept_language` | empty | the header |

#![warn(missing_docs)]

#[cfg(not(feature = "ssr"))]
mod browser;
#[cfg(not(feature = "ssr"))]
pub use browser::*;

#[cfg(feature = "ssr")]
mod server;
#[cfg(feature = "ssr")]
pub use server::*;

/// What happens to a page as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEvent {
    /// It became visible, or hidden.
    Seen {
        /// Whether nobody sees it.
        hidden: bool,
    },
    /// It was prerendered and is now shown.
    Activated,
    /// It is going away, maybe into the back/forward cache.
    Closed,
    /// It came back out of the back/forward cache.
    Restored,
    /// It may run again after the browser had frozen it.
    Resumed,
    /// The network is back.
    Online,
}

/// What comes in on an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A message's data.
    Message(String),
    /// A sign of life.
    Tick,
    /// The connection broke. Whether the browser will try again by itself depends on how; don't rely on it.
    Broken,
}
