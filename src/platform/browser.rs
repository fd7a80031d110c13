//! The platform API in browsers: timers and the document through existing bindings, everything else through
//! `browser.js` beside this file. `browser.js` is generated from `client/src/browser.ts`.

use std::{cell::RefCell, rc::Rc};

use gloo_timers::callback::Timeout;
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};

use super::{Answer, IslandProps, Leading, PageEvent, StreamEvent};

/// The name of the lock and of the broadcast channel by which tabs share a stream. The scripts without WebAssembly use
/// the same name.
const TABS: &str = "aforo-stream";

/// The signature of all callbacks: the kind of event, a number and a text. A single signature needs a single set of
/// bindings.
type Callback = dyn FnMut(u32, f64, String);

#[wasm_bindgen(module = "/src/platform/browser.js")]
extern "C" {
    #[wasm_bindgen(js_name = newId)]
    fn js_new_id() -> String;
    #[wasm_bindgen(js_name = isPrerendering)]
    fn js_is_prerendering() -> bool;
    #[wasm_bindgen(js_name = handedOver)]
    fn js_handed_over(name: &str) -> String;
    #[wasm_bindgen(js_name = onPageEvent)]
    fn js_on_page_event(callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = onceSeen)]
    fn js_once_seen(callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = beat)]
    fn js_beat(
        path: &str,
        channel: &str,
        session: &str,
        hidden: bool,
        ticket: &str,
        callback: &Closure<Callback>,
    ) -> JsValue;
    #[wasm_bindgen(js_name = leave)]
    fn js_leave(path: &str, channel: &str, session: &str);
    #[wasm_bindgen(js_name = probe)]
    fn js_probe(path: &str, millis: f64, callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = counts)]
    fn js_counts(path: &str, millis: f64, callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = openStream)]
    fn js_open_stream(url: &str, callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = joinTabs)]
    fn js_join_tabs(name: &str, callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = canShare)]
    fn js_can_share() -> bool;
    #[wasm_bindgen(js_name = tell)]
    fn js_tell(text: &str);
    #[wasm_bindgen(js_name = lead)]
    fn js_lead(name: &str, steal: bool, callback: &Closure<Callback>) -> JsValue;
    #[wasm_bindgen(js_name = stop)]
    fn js_stop(stop: &JsValue);
    #[wasm_bindgen(js_name = now)]
    fn js_now() -> f64;
    #[wasm_bindgen(js_name = random)]
    fn js_random() -> f64;
}

/// Keeps a timer, a request, a stream or a listener alive. Ends it when dropped.
pub struct Guard {
    _timer: Option<Timeout>,
    _script: Option<Script>,
}

impl Guard {
    /// Takes a boxed callback, so that this code is compiled only once.
    fn new(callback: Box<Callback>, start: impl FnOnce(&Closure<Callback>) -> JsValue) -> Self {
        let callback = Closure::wrap(callback);
        Self { _timer: None, _script: Some(Script { stop: start(&callback), _callback: callback }) }
    }
}

/// A running operation of `browser.js`, with its callback.
struct Script {
    stop: JsValue,
    _callback: Closure<Callback>,
}

impl Drop for Script {
    fn drop(&mut self) {
        js_stop(&self.stop);
    }
}

/// Milliseconds since the epoch. Unlike `performance.now()`, this clock keeps running while the machine sleeps.
#[must_use]
pub fn now() -> f64 {
    js_now()
}

/// A random number from 0 to 1, for jitter.
#[must_use]
pub fn random() -> f64 {
    js_random()
}

/// A new version 4 UUID.
#[must_use]
pub fn new_id() -> String {
    js_new_id()
}

/// Whether the page is hidden.
#[must_use]
pub fn is_hidden() -> bool {
    web_sys::window().and_then(|window| window.document()).is_some_and(|document| document.hidden())
}

/// Whether the browser prerenders the page.
#[must_use]
pub fn is_prerendering() -> bool {
    js_is_prerendering()
}

/// The props that the server passed to an island. The attribute is `None`, because the element already has it.
#[must_use]
pub fn island_props<H: IslandProps>() -> (Option<H>, Option<String>) {
    (H::read(&js_handed_over(H::CLASS)), None)
}

thread_local! {
    /// The ticket of the page, in memory only.
    static TICKET: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The ticket that the page was opened with; empty if none.
#[must_use]
pub fn page_ticket() -> String {
    TICKET.with_borrow(Clone::clone)
}

/// Keeps the ticket that the page was opened with. The script of the page has taken it out of the address.
pub fn keep_ticket(ticket: String) {
    TICKET.set(ticket);
}

/// A value that exists only in browsers, where there is one thread.
#[derive(Debug)]
pub struct Local<T: ?Sized>(SendWrapper<Rc<T>>);

impl<T: ?Sized> Local<T> {
    /// Creates the value.
    pub fn new(make: impl FnOnce() -> Rc<T>) -> Self {
        Self(SendWrapper::new(make()))
    }

    /// The value. Never `None` in browsers.
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

/// Calls back at every [`PageEvent`].
pub fn on_page_event(callback: impl Fn(PageEvent) + 'static) -> Guard {
    let callback = move |kind: u32, _, _| {
        callback(match kind {
            0 => PageEvent::Seen { hidden: is_hidden() },
            1 => PageEvent::Activated,
            2 => PageEvent::Closed,
            3 => PageEvent::Frozen,
            4 => PageEvent::Restored,
            5 => PageEvent::Resumed,
            6 => PageEvent::Online,
            7 => PageEvent::Offline,
            _ => PageEvent::Unloading,
        });
    };
    Guard::new(Box::new(callback), js_on_page_event)
}

/// Calls back once half of the page's `<main>` has been on screen, or once it has covered half of the window; at once
/// where the browser can't tell.
pub fn once_seen(callback: impl Fn() + 'static) -> Guard {
    Guard::new(Box::new(move |_, _, _| callback()), js_once_seen)
}

/// Calls back once after this many milliseconds.
pub fn after(millis: f64, callback: impl Fn() + 'static) -> Guard {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    let millis = millis as u32;
    Guard { _timer: Some(Timeout::new(millis, callback)), _script: None }
}

/// Sends a beat and calls back with the answer. The viewer is that of the ticket or, if the ticket is empty, the viewer
/// as which the session joined: this browser, or that of an earlier ticket.
pub fn beat(
    path: &str,
    channel: &str,
    session: &str,
    hidden: bool,
    ticket: &str,
    callback: impl Fn(Answer) + 'static,
) -> Guard {
    let callback = move |kind: u32, number: f64, count| {
        callback(match kind {
            0 => Answer::Failed { retry_after: number },
            1 => Answer::Counted { interval: (number > 0.0).then_some(number), count },
            2 => Answer::NotCounted,
            _ => Answer::Refused { wants_ticket: kind == 3 },
        });
    };
    Guard::new(Box::new(callback), |callback| js_beat(path, channel, session, hidden, ticket, callback))
}

/// Sends the leave of a session as a beacon, which is delivered even after the page has closed.
pub fn leave(path: &str, channel: &str, session: &str) {
    js_leave(path, channel, session);
}

/// Requests a path and calls back with whether the server answered within this many milliseconds.
pub fn probe(path: &str, millis: f64, callback: impl Fn(bool) + 'static) -> Guard {
    Guard::new(Box::new(move |kind: u32, _, _| callback(kind == 1)), |callback| {
        js_probe(path, millis, callback)
    })
}

/// Requests counts and calls back with them, as [`CountMessage`](crate::browser::tab_sync::CountMessage)s separated by
/// commas; with `None` if the server didn't answer within this many milliseconds.
pub fn counts(path: &str, millis: f64, callback: impl Fn(Option<String>) + 'static) -> Guard {
    Guard::new(Box::new(move |kind: u32, _, text| callback((kind == 1).then_some(text))), |callback| {
        js_counts(path, millis, callback)
    })
}

/// Opens an event stream and calls back at every event.
pub fn open_stream(url: &str, callback: impl Fn(StreamEvent) + 'static) -> Guard {
    let callback = move |kind: u32, _, text| {
        callback(match kind {
            0 => StreamEvent::Broken,
            1 => StreamEvent::Tick,
            _ => StreamEvent::Count(text),
        });
    };
    Guard::new(Box::new(callback), |callback| js_open_stream(url, callback))
}

/// Calls back at every message from another tab of this browser. `None` where tabs can't share a stream.
pub fn join_tabs(callback: impl Fn(String) + 'static) -> Option<Guard> {
    let joined =
        Guard::new(Box::new(move |_, _, text| callback(text)), |callback| js_join_tabs(TABS, callback));
    js_can_share().then_some(joined)
}

/// Sends a message to all other tabs, where tabs can share a stream.
pub fn broadcast(text: &str) {
    js_tell(text);
}

/// Requests the lead among the tabs of this browser. With `steal`, takes the lead from the current leader.
pub fn lead(steal: bool, callback: impl Fn(Leading) + 'static) -> Guard {
    let callback = move |kind: u32, _, _| callback(if kind == 0 { Leading::Taken } else { Leading::Granted });
    Guard::new(Box::new(callback), |callback| js_lead(TABS, steal, callback))
}
