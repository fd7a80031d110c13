//! The twin for browsers. Whatever the browser refuses (storage in a sandboxed frame, say) is done without.

use std::{cell::OnceCell, rc::Rc};

use gloo_timers::callback::Timeout;
use js_sys::{Date, Math, Reflect};
use send_wrapper::SendWrapper;
use uuid::Builder;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{
    Document, Event, EventSource, EventTarget, MessageEvent, PageTransitionEvent, VisibilityState, Window,
};

use super::{PageEvent, StreamEvent};

/// The whole part of a number from 0 to `u32::MAX`; what is outside is taken for the nearer end.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` does what is promised here"
)]
const fn to_u32(number: f64) -> u32 {
    number as u32
}

/// Where the viewer's id is kept in `localStorage`.
const VIEWER_KEY: &str = "aforo.viewer";

fn window() -> Option<Window> {
    web_sys::window()
}

fn document() -> Option<Document> {
    window()?.document()
}

/// Milliseconds since the epoch. Unlike `performance.now()` it goes on while the machine sleeps.
#[must_use]
pub fn now() -> f64 {
    Date::now()
}

/// A number from 0 to 1, for jitter.
#[must_use]
pub fn random() -> f64 {
    Math::random()
}

/// A fresh version 4 UUID. `crypto.randomUUID` exists in secure contexts only; `getRandomValues` everywhere.
#[must_use]
pub fn new_id() -> String {
    let mut bytes = [0; 16];
    let filled = window()
        .and_then(|window| window.crypto().ok())
        .is_some_and(|crypto| crypto.get_random_values_with_u8_array(&mut bytes).is_ok());
    if !filled {
        bytes = std::array::from_fn(|_| to_u32(random() * 256.0).to_le_bytes()[0]);
    }
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// This browser's id: kept in `localStorage`, in memory where storage is refused.
#[must_use]
pub fn viewer_id() -> String {
    thread_local! {
        static VIEWER: OnceCell<String> = const { OnceCell::new() };
    }
    VIEWER.with(|viewer| viewer.get_or_init(stored_viewer_id).clone())
}

fn stored_viewer_id() -> String {
    let Some(storage) = window().and_then(|window| window.local_storage().ok().flatten()) else {
        return new_id();
    };
    let kept = storage.get_item(VIEWER_KEY).ok().flatten();
    kept.filter(|id| uuid::Uuid::try_parse(id).is_ok_and(|id| !id.is_nil())).unwrap_or_else(|| {
        let id = new_id();
        // A full storage refuses; then the id lives as long as the page.
        let _refused = storage.set_item(VIEWER_KEY, &id);
        id
    })
}

/// Whether nobody sees the page.
#[must_use]
pub fn is_hidden() -> bool {
    document().is_some_and(|document| document.visibility_state() == VisibilityState::Hidden)
}

/// Whether the browser has loaded the page before anyone has asked for it
/// (<https://developer.mozilla.org/docs/Web/API/Document/prerendering>).
#[must_use]
pub fn is_prerendering() -> bool {
    document()
        .and_then(|document| Reflect::get(&document, &"prerendering".into()).ok())
        .is_some_and(|value| value.is_truthy())
}

/// A value that there is in browsers only, where there is one thread.
#[derive(Debug)]
pub struct Local<T: ?Sized>(SendWrapper<Rc<T>>);

impl<T: ?Sized> Local<T> {
    /// Makes the value.
    pub fn new(make: impl FnOnce() -> Rc<T>) -> Self {
        Self(SendWrapper::new(make()))
    }

    /// The value; always there.
    #[must_use]
    pub fn get(&self) -> Option<Rc<T>> {
        Some(Rc::clone(&self.0))
    }
}

impl<T: ?Sized> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A listener that ends when it is dropped.
struct Listener {
    target: EventTarget,
    name: &'static str,
    callback: Closure<dyn FnMut(Event)>,
}

impl Listener {
    fn new(target: &EventTarget, name: &'static str, callback: impl FnMut(Event) + 'static) -> Self {
        let callback = Closure::<dyn FnMut(Event)>::new(callback);
        let _refused = target.add_event_listener_with_callback(name, callback.as_ref().unchecked_ref());
        Self { target: target.clone(), name, callback }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _refused = self
            .target
            .remove_event_listener_with_callback(self.name, self.callback.as_ref().unchecked_ref());
    }
}

/// Keeps a callback alive; dropping it ends the listening.
pub struct PageEvents {
    _listeners: Vec<Listener>,
}

/// Calls back at everything that happens to the page.
pub fn on_page_event(callback: impl Fn(PageEvent) + 'static) -> PageEvents {
    let (Some(window), Some(document)) = (window(), document()) else {
        return PageEvents { _listeners: Vec::new() };
    };
    let callback = Rc::new(callback);
    let listen = |target: &EventTarget, name, translate: fn(&Event) -> Option<PageEvent>| {
        let callback = Rc::clone(&callback);
        Listener::new(target, name, move |event| {
            if let Some(event) = translate(&event) {
                callback(event);
            }
        })
    };
    let listeners = vec![
        listen(&document, "visibilitychange", |_| Some(PageEvent::Seen { hidden: is_hidden() })),
        listen(&document, "prerenderingchange", |_| Some(PageEvent::Activated)),
        listen(&document, "resume", |_| Some(PageEvent::Resumed)),
        listen(&window, "pagehide", |_| Some(PageEvent::Closed)),
        listen(&window, "pageshow", |event| {
            let restored = event.dyn_ref::<PageTransitionEvent>().is_some_and(PageTransitionEvent::persisted);
            restored.then_some(PageEvent::Restored)
        }),
        listen(&window, "online", |_| Some(PageEvent::Online)),
    ];
    PageEvents { _listeners: listeners }
}

/// A timer that is cancelled when it is dropped.
pub struct Timer {
    _timeout: Timeout,
}

/// Calls back once, after so many milliseconds.
pub fn after(millis: f64, callback: impl FnOnce() + 'static) -> Timer {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a timer takes"
    )]
    let millis = millis.clamp(0.0, f64::from(i32::MAX)) as u32;
    Timer { _timeout: Timeout::new(millis, callback) }
}

/// Posts a text that is delivered even if the page is gone by then. It is sent as text/plain, which needs no preflight.
pub fn send_beacon(path: &str, body: &str) {
    if let Some(window) = window() {
        let _queue_is_full = window.navigator().send_beacon_with_opt_str(path, Some(body));
    }
}

/// An open event stream; dropping it closes it and frees its callbacks.
pub struct EventStream {
    source: Option<EventSource>,
    _listeners: Vec<Listener>,
}

impl EventStream {
    /// Opens the stream at `url` and calls back at what comes in.
    pub fn open(url: &str, callback: impl Fn(StreamEvent) + 'static) -> Self {
        let Ok(source) = EventSource::new(url) else {
            callback(StreamEvent::Broken);
            return Self { source: None, _listeners: Vec::new() };
        };
        let callback = Rc::new(callback);
        let listen = |name, translate: fn(&Event) -> StreamEvent| {
            let callback = Rc::clone(&callback);
            Listener::new(&source, name, move |event| callback(translate(&event)))
        };
        let listeners = vec![
            listen("message", |event| {
                let data = event.dyn_ref::<MessageEvent>().map_or(JsValue::NULL, MessageEvent::data);
                StreamEvent::Message(data.as_string().unwrap_or_default())
            }),
            listen("tick", |_| StreamEvent::Tick),
            listen("error", |_| StreamEvent::Broken),
        ];
        Self { source: Some(source), _listeners: listeners }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.close();
        }
    }
}

/// The answer to the page has long been given.
pub const fn set_not_found() {}

/// The server has chosen the language.
#[must_use]
pub const fn accept_language() -> String {
    String::new()
}
