use crate::platform::{self, Handover};

/// What an island needs to know, and the attribute `data-island` of its element that carries it to the browser.
///
/// Islands of ours have no properties of their own, see [`Handover`]: the component around an island provides them as a
/// context, and the island writes them into its element.
///
/// ## Server-Side Rendering
/// Taken from the context. In the browser it is what the server has written.
#[must_use]
pub fn use_handed_over<H: Handover>() -> (Option<H>, Option<String>) {
    platform::handed_over()
}
