//! The platform API of the hooks. Two files define the same names: `browser` acts, and `server` does nothing, because
//! hooks also run while a page is rendered. Only one of them is compiled, so callers need no `cfg` gates. WebAssembly
//! targets compile `browser`. So does the feature `hydrate` on any target, so that the browser half can be checked
//! without WebAssembly.
//!
//! | name | in the browser | while rendering on the server |
//! |---|---|---|
//! | `now` | milliseconds since the epoch | 0 |
//! | `random` | from 0 to 1 | 0 |
//! | `new_id` | a new UUID | empty |
//! | `is_hidden`, `is_prerendering` | the state of the document | false |
//! | `page_ticket` | the ticket that the page was opened with | empty |
//! | `island_props` | the props that the server wrote into an island's element | the props in context, and their text |
//! | `on_page_event`, `once_seen`, `after` | callbacks until the guard is dropped | nothing |
//! | `beat`, `leave`, `probe`, `counts` | requests | nothing |
//! | `open_stream` | an open event stream, closed when dropped | nothing |
//! | `join_tabs`, `broadcast`, `lead` | other tabs of this browser | nothing |
//! | `Local` | a value of this thread | nothing: a page may be dropped on another thread |

#[cfg_attr(all(any(feature = "hydrate", target_family = "wasm"), not(feature = "ssr")), path = "browser.rs")]
#[cfg_attr(any(not(any(feature = "hydrate", target_family = "wasm")), feature = "ssr"), path = "server.rs")]
mod twin;
pub use twin::*;

/// The props of an island, passed by the server as text in one attribute of the island's element.
///
/// Leptos would pass the props as JSON. The JSON parser alone would be a quarter of the code that browsers load.
pub trait IslandProps: Clone + Send + Sync + 'static {
    /// The class of the island's element.
    const CLASS: &str;

    /// Formats the props.
    fn write(&self) -> String;

    /// Parses the format of [`IslandProps::write`].
    fn read(text: &str) -> Option<Self>;
}

/// An event of the page as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEvent {
    /// The page became visible or hidden.
    Seen {
        /// Whether the page is hidden.
        hidden: bool,
    },
    /// The page was prerendered and is now shown.
    Activated,
    /// The page is going away, possibly into the back/forward cache.
    Closed,
    /// The browser freezes the page to save energy.
    Frozen,
    /// The page was restored from the back/forward cache.
    Restored,
    /// The page runs again after a freeze.
    Resumed,
    /// The browser is online again.
    Online,
    /// The browser is offline.
    Offline,
    /// The browser is about to unload the page, or asks whether it may. Reported only in browsers that need it.
    Unloading,
}

/// The answer to a beat.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The session is counted.
    Counted {
        /// Milliseconds between beats, if the answer contains them.
        interval: Option<f64>,
        /// The count in the answer, in the format of [`CountMessage`](crate::browser::tab_sync::CountMessage); empty if
        /// none.
        count: String,
    },
    /// The session is not counted, because it has left.
    NotCounted,
    /// The server refused the request for its ticket.
    Refused {
        /// Whether the server wants a ticket. If not, the ticket of the request is invalid or has expired.
        wants_ticket: bool,
    },
    /// The request failed, or the answer was an error.
    Failed {
        /// The minimum wait in milliseconds; 0 if the answer contains none.
        retry_after: f64,
    },
}

/// An event on an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A count, in the format of [`CountMessage`](crate::browser::tab_sync::CountMessage).
    Count(String),
    /// A sign of life.
    Tick,
    /// The connection broke. The browser reconnects by itself only after some faults, so don't rely on it.
    Broken,
}

/// The result of a request to lead the tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// This tab leads.
    Granted,
    /// Another tab took the lead, or the browser refuses locks.
    Taken,
}
