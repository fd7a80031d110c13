//! The twin for browsers: timers and the document through the bindings that there are for them, and names and types for
//! what is in `browser.js`, beside this file, which is made from `client/src/browser.ts`.

use std::rc::Rc;

use gloo_timers::callback::Timeout;
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};

use super::{Answer, IslandProps, Leading, PageEvent, StreamEvent};

/// The name of the lock, and of the channel, by which tabs share a stream. Scripts of the same site use it, too.
const TABS: &str = "aforo-stream";

/// What every callback gets: which kind of thing happened, a number and a text. One signature for all is one set of
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

/// Something that goes on until it is dropped: a timer, a request, a stream, listening.
pub struct Ongoing {
    _timer: Option<Timeout>,
    _script: Option<Script>,
}

impl Ongoing {
    /// Boxed here, so that there is one of everything that follows.
    fn new(callback: Box<Callback>, start: impl FnOnce(&Closure<Callback>) -> JsValue) -> Self {
        let callback = Closure::wrap(callback);
        Self { _timer: None, _script: Some(Script { stop: start(&callback), _callback: callback }) }
    }
}

/// What `browser.js` has begun, and what it calls back.
struct Script {
    stop: JsValue,
    _callback: Closure<Callback>,
}

impl Drop for Script {
    fn drop(&mut self) {
        js_stop(&self.stop);
    }
}

/// Milliseconds since the epoch. Unlike `performance.now()` it goes on while the machine sleeps.
#[must_use]
pub fn now() -> f64 {
    js_now()
}

/// A number from 0 to 1, for jitter.
#[must_use]
pub fn random() -> f64 {
    js_random()
}

/// A fresh version 4 UUID.
#[must_use]
pub fn new_id() -> String {
    js_new_id()
}

/// Whether nobody sees the page.
#[must_use]
pub fn is_hidden() -> bool {
    web_sys::window().and_then(|window| window.document()).is_some_and(|document| document.hidden())
}

/// Whether the browser has loaded the page before anyone has asked for it.
#[must_use]
pub fn is_prerendering() -> bool {
    js_is_prerendering()
}

/// What the server has handed over to an island, and the attribute with it, which there already is.
#[must_use]
pub fn island_props<H: IslandProps>() -> (Option<H>, Option<String>) {
    (H::read(&js_handed_over(H::CLASS)), None)
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

/// Calls back at everything that happens to the page.
pub fn on_page_event(callback: impl Fn(PageEvent) + 'static) -> Ongoing {
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
    Ongoing::new(Box::new(callback), js_on_page_event)
}

/// Calls back when half of the page's main part has been on screen; at once, where the browser can't tell.
pub fn once_seen(callback: impl Fn() + 'static) -> Ongoing {
    Ongoing::new(Box::new(move |_, _, _| callback()), js_once_seen)
}

/// Calls back once, after so many milliseconds.
pub fn after(millis: f64, callback: impl Fn() + 'static) -> Ongoing {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` takes the nearer end")]
    let millis = millis as u32;
    Ongoing { _timer: Some(Timeout::new(millis, callback)), _script: None }
}

/// Sends a beat of this browser's viewer and calls back with the answer.
pub fn beat(
    path: &str,
    channel: &str,
    session: &str,
    hidden: bool,
    callback: impl Fn(Answer) + 'static,
) -> Ongoing {
    let callback = move |kind: u32, number: f64, count| {
        callback(match kind {
            0 => Answer::Failed { retry_after: number },
            1 => Answer::Counted { interval: (number > 0.0).then_some(number), count },
            _ => Answer::NotCounted,
        });
    };
    Ongoing::new(Box::new(callback), |callback| js_beat(path, channel, session, hidden, callback))
}

/// Sends the leave of this browser's viewer; it is delivered even if the page is gone by then.
pub fn leave(path: &str, channel: &str, session: &str) {
    js_leave(path, channel, session);
}

/// Calls back with whether the server has answered at this path within so many milliseconds.
pub fn probe(path: &str, millis: f64, callback: impl Fn(bool) + 'static) -> Ongoing {
    Ongoing::new(Box::new(move |kind: u32, _, _| callback(kind == 1)), |callback| {
        js_probe(path, millis, callback)
    })
}

/// Calls back with the counts that the server has answered with at this path within so many milliseconds, as
/// [`CountMessage`](crate::browser::tab_sync::CountMessage) reads them and with commas between; `None` if it has not.
pub fn counts(path: &str, millis: f64, callback: impl Fn(Option<String>) + 'static) -> Ongoing {
    Ongoing::new(Box::new(move |kind: u32, _, text| callback((kind == 1).then_some(text))), |callback| {
        js_counts(path, millis, callback)
    })
}

/// Opens an event stream and calls back at what comes in.
pub fn open_stream(url: &str, callback: impl Fn(StreamEvent) + 'static) -> Ongoing {
    let callback = move |kind: u32, _, text| {
        callback(match kind {
            0 => StreamEvent::Broken,
            1 => StreamEvent::Tick,
            _ => StreamEvent::Count(text),
        });
    };
    Ongoing::new(Box::new(callback), |callback| js_open_stream(url, callback))
}

/// Calls back at what other tabs of this browser tell. `None` where tabs can't share a stream.
pub fn join_tabs(callback: impl Fn(String) + 'static) -> Option<Ongoing> {
    let joined =
        Ongoing::new(Box::new(move |_, _, text| callback(text)), |callback| js_join_tabs(TABS, callback));
    js_can_share().then_some(joined)
}

/// Tells all other tabs, if they can be told.
pub fn tell(text: &str) {
    js_tell(text);
}

/// Asks to be the one tab of this browser that has the stream; when `steal`, also from one that has it and is silent.
pub fn lead(steal: bool, callback: impl Fn(Leading) + 'static) -> Ongoing {
    let callback = move |kind: u32, _, _| callback(if kind == 0 { Leading::Taken } else { Leading::Granted });
    Ongoing::new(Box::new(callback), |callback| js_lead(TABS, steal, callback))
}
