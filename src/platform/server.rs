//! The twin for rendering on the server: nothing happens, and nothing of a browser is ever made.

use std::{marker::PhantomData, rc::Rc};

use leptos::prelude::use_context;

use super::{PageEvent, StreamEvent};

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

/// See [`new_id`].
#[must_use]
pub const fn viewer_id() -> String {
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

/// Keeps a callback alive.
#[derive(Debug)]
pub struct PageEvents;

/// Never calls back.
pub fn on_page_event(_callback: impl Fn(PageEvent) + 'static) -> PageEvents {
    PageEvents
}

/// Keeps a timer alive.
#[derive(Debug)]
pub struct Timer;

/// Never calls back.
pub fn after(_millis: f64, _callback: impl FnOnce() + 'static) -> Timer {
    Timer
}

/// Sends nothing.
pub fn send_beacon(_path: &str, _body: &str) {}

/// An event stream that is never open.
#[derive(Debug)]
pub struct EventStream;

impl EventStream {
    /// Opens nothing.
    pub fn open(_url: &str, _callback: impl Fn(StreamEvent) + 'static) -> Self {
        Self
    }
}

/// Has the page answered with 404.
pub fn set_not_found() {
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(axum::http::StatusCode::NOT_FOUND);
    }
}

/// The request's `Accept-Language`; empty without one.
#[must_use]
pub fn accept_language() -> String {
    use_context::<axum::http::request::Parts>()
        .and_then(|parts| {
            let value = parts.headers.get(axum::http::header::ACCEPT_LANGUAGE)?;
            Some(value.to_str().ok()?.to_owned())
        })
        .unwrap_or_default()
}
