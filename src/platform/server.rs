//! The platform API while a page is rendered on the server: all functions do nothing.

use std::{marker::PhantomData, rc::Rc};

use leptos::prelude::use_context;

use super::{Answer, IslandProps, Leading, PageEvent, StreamEvent};

/// Always 0: rendering must not depend on time.
#[must_use]
pub const fn now() -> f64 {
    0.0
}

/// Always 0: rendering must not depend on chance.
#[must_use]
pub const fn random() -> f64 {
    0.0
}

/// Always empty: browsers create the ids. An id in a page could be cached and shared by many visitors.
#[must_use]
pub const fn new_id() -> String {
    String::new()
}

/// Always `false`: pages are rendered as visible.
#[must_use]
pub const fn is_hidden() -> bool {
    false
}

/// Always `false`: pages are rendered as visible.
#[must_use]
pub const fn is_prerendering() -> bool {
    false
}

/// Always empty: no page of the server contains a ticket.
#[must_use]
pub const fn page_ticket() -> String {
    String::new()
}

/// Does nothing: the browser keeps the ticket.
pub fn keep_ticket(_ticket: String) {}

/// A value that exists only in browsers. On the server it is never created.
#[derive(Debug)]
pub struct Local<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> Local<T> {
    /// Creates nothing.
    pub fn new(_make: impl FnOnce() -> Rc<T>) -> Self {
        Self(PhantomData)
    }

    /// Always `None`.
    #[must_use]
    pub const fn get(&self) -> Option<Rc<T>> {
        None
    }
}

impl<T: ?Sized> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

/// The props that the parent component provided, and the attribute that passes them to the browser.
#[must_use]
pub fn island_props<H: IslandProps>() -> (Option<H>, Option<String>) {
    let props = use_context::<H>();
    let written = props.as_ref().map(H::write);
    (props, written)
}

/// A guard of nothing.
#[derive(Debug)]
pub struct Guard;

/// Never calls back.
pub fn on_page_event(_callback: impl Fn(PageEvent) + 'static) -> Guard {
    Guard
}

/// Never calls back.
pub fn once_seen(_callback: impl Fn() + 'static) -> Guard {
    Guard
}

/// Never calls back.
pub fn after(_millis: f64, _callback: impl Fn() + 'static) -> Guard {
    Guard
}

/// Sends nothing.
pub fn beat(
    _path: &str,
    _channel: &str,
    _session: &str,
    _hidden: bool,
    _ticket: &str,
    _callback: impl Fn(Answer) + 'static,
) -> Guard {
    Guard
}

/// Sends nothing.
pub const fn leave(_path: &str, _channel: &str, _session: &str) {}

/// Sends nothing.
pub fn probe(_path: &str, _millis: f64, _callback: impl Fn(bool) + 'static) -> Guard {
    Guard
}

/// Sends nothing.
pub fn counts(_path: &str, _millis: f64, _callback: impl Fn(Option<String>) + 'static) -> Guard {
    Guard
}

/// Opens nothing.
pub fn open_stream(_url: &str, _callback: impl Fn(StreamEvent) + 'static) -> Guard {
    Guard
}

/// Does nothing: a server has no tabs.
pub fn join_tabs(_callback: impl Fn(String) + 'static) -> Option<Guard> {
    None
}

/// Does nothing: a server has no tabs.
pub const fn broadcast(_text: &str) {}

/// Does nothing: a server has no tabs.
pub fn lead(_steal: bool, _callback: impl Fn(Leading) + 'static) -> Guard {
    Guard
}
