//! What a hook may ask of its surroundings. Two files have the same names in them: `browser` does things, `server` is
//! inert, for hooks run there too while a page is rendered. The one that fits is compiled, and callers need no gate.
//! WebAssembly is a browser. So is `hydrate` for any target, so that this half can be checked without that one.
//!
//! | name | in the browser | while rendering on the server |
//! |---|---|---|
//! | `now` | milliseconds since the epoch | 0 |
//! | `random` | from 0 to 1 | 0 |
//! | `new_id` | a fresh UUID | empty |
//! | `is_hidden`, `is_prerendering` | what the document says | false |
//! | `island_props` | what the server has written into an island's element | what is in context, to be written |
//! | `on_page_event`, `once_seen`, `after` | call back until the guard is dropped | nothing |
//! | `beat`, `leave`, `probe`, `counts` | requests | nothing |
//! | `open_stream` | an open event stream, closed when dropped | nothing |
//! | `join_tabs`, `tell`, `lead` | other tabs of this browser | there are none |
//! | `Local` | a value of this thread | nothing: a page may be dropped on another thread than it was made on |

#![warn(missing_docs)]

#[cfg(all(any(feature = "hydrate", target_family = "wasm"), not(feature = "ssr")))]
mod browser;
#[cfg(all(any(feature = "hydrate", target_family = "wasm"), not(feature = "ssr")))]
pub use browser::*;

#[cfg(any(not(any(feature = "hydrate", target_family = "wasm")), feature = "ssr"))]
mod server;
#[cfg(any(not(any(feature = "hydrate", target_family = "wasm")), feature = "ssr"))]
pub use server::*;

/// What the server hands over to an island: words in one attribute of its element.
///
/// An island's own properties would travel as JSON, whose reader alone makes up a quarter of what browsers load.
pub trait IslandProps: Clone + Send + Sync + 'static {
    /// The class of the island's element.
    const CLASS: &str;

    /// Writes it down.
    fn write(&self) -> String;

    /// Reads what was written.
    fn read(text: &str) -> Option<Self>;
}

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
    /// The browser stops it, to save energy.
    Frozen,
    /// It came back out of the back/forward cache.
    Restored,
    /// It may run again after the browser had frozen it.
    Resumed,
    /// The network is back.
    Online,
    /// The network is gone.
    Offline,
    /// The browser is about to unload it, or asks whether it may. Told by browsers that need it.
    Unloading,
}

/// The answer to a beat.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The session is counted.
    Counted {
        /// Milliseconds between beats, if the answer says.
        interval: Option<f64>,
        /// The count that came with it, as [`CountMessage`](crate::browser::tab_sync::CountMessage) reads it; empty if none did.
        count: String,
    },
    /// It is not, since it has left.
    NotCounted,
    /// There was no good answer.
    Failed {
        /// Milliseconds to wait at least; 0 if the answer doesn't say.
        retry_after: f64,
    },
}

/// What comes in on an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A count, as [`CountMessage`](crate::browser::tab_sync::CountMessage) reads it.
    Count(String),
    /// A sign of life.
    Tick,
    /// The connection broke. Whether the browser will try again by itself depends on how; don't rely on it.
    Broken,
}

/// What becomes of the wish to be the tab that has the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// This tab has it.
    Granted,
    /// Another tab has taken it, or it can't be had.
    Taken,
}
