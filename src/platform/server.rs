//! The twin for rendering pages, on a server: nothing happens, and nothing of a browser is ever made.

use std::{marker::PhantomData, rc::Rc};

use leptos::prelude::use_context;

use super::{Answer, IslandProps, Leading, PageEvent, StreamEvent};

/// No clock runs while a page is rendered.
#[must_use]
pub const fn now() -> f64 {
    0.0
}

/// What differs from the browser's rendering must not get into a page.
#[must_use]
pub const fn random() -> f64 {
    0.0
}

/// Ids are made by browsers: one in a page could be cached and handed to many.
#[must_use]
pub const fn new_id() -> String {
    String::new()
}

/// A page is rendered as if it were visible.
#[must_use]
pub const fn is_hidden() -> bool {
    false
}

/// A page is rendered as if it were visible.
#[must_use]
pub const fn is_prerendering() -> bool {
    false
}

/// A value that there is in browsers only: here it is never made.
#[derive(Debug)]
pub struct Local<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> Local<T> {
    /// Makes nothing.
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

/// What the component around an island has provided, and the attribute that hands it over.
#[must_use]
pub fn island_props<H: IslandProps>() -> (Option<H>, Option<String>) {
    let handed = use_context::<H>();
    let written = handed.as_ref().map(H::write);
    (handed, written)
}

/// Something that never begins.
#[derive(Debug)]
pub struct Ongoing;

/// Never calls back.
pub fn on_page_event(_callback: impl Fn(PageEvent) + 'static) -> Ongoing {
    Ongoing
}

/// Never calls back.
pub fn once_seen(_callback: impl Fn() + 'static) -> Ongoing {
    Ongoing
}

/// Never calls back.
pub fn after(_millis: f64, _callback: impl Fn() + 'static) -> Ongoing {
    Ongoing
}

/// Sends nothing.
pub fn beat(
    _path: &str,
    _channel: &str,
    _session: &str,
    _hidden: bool,
    _callback: impl Fn(Answer) + 'static,
) -> Ongoing {
    Ongoing
}

/// Sends nothing.
pub const fn leave(_path: &str, _channel: &str, _session: &str) {}

/// Asks nothing.
pub fn probe(_path: &str, _millis: f64, _callback: impl Fn(bool) + 'static) -> Ongoing {
    Ongoing
}

/// Asks nothing.
pub fn counts(_path: &str, _millis: f64, _callback: impl Fn(Option<String>) + 'static) -> Ongoing {
    Ongoing
}

/// Opens nothing.
pub fn open_stream(_url: &str, _callback: impl Fn(StreamEvent) + 'static) -> Ongoing {
    Ongoing
}

/// There are no tabs.
pub fn join_tabs(_callback: impl Fn(String) + 'static) -> Option<Ongoing> {
    None
}

/// There are no tabs.
pub const fn tell(_text: &str) {}

/// There are no tabs.
pub fn lead(_steal: bool, _callback: impl Fn(Leading) + 'static) -> Ongoing {
    Ongoing
}
