use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::prelude::*;

use crate::{
    domain::{
        Count, CountUpdate,
        watchdog::{Verdict, Watchdog},
    },
    platform::{self, EventStream, Local, PageEvent, PageEvents, StreamEvent, Timer},
};

/// Options of [`use_viewer_count_with_options`].
#[derive(Clone, Default)]
pub struct UseViewerCountOptions {
    on_event: Option<Local<dyn Fn()>>,
}

impl UseViewerCountOptions {
    /// Calls back at every event on the stream, ticks included. Defaults to nothing.
    #[must_use]
    pub fn on_event(self, on_event: impl Fn() + 'static) -> Self {
        Self { on_event: Some(Local::new(|| Rc::new(on_event) as Rc<dyn Fn()>)) }
    }
}

/// What [`use_viewer_count`] returns.
#[derive(Debug, Clone, Copy)]
pub struct UseViewerCountReturn {
    /// The count: the initial one at first, then what the stream says; stale while the stream is broken.
    pub count: ReadSignal<Count>,
}

/// The count of a channel, kept up to date by its event stream.
///
/// ## Usage
/// ```
/// # use leptos::prelude::*;
/// # use aforo::{domain::{Count, Timestamp}, hooks::{use_viewer_count, UseViewerCountReturn}};
/// #[component]
/// fn Number(initial: Count) -> impl IntoView {
///     let UseViewerCountReturn { count } = use_viewer_count("ana", initial);
///     view! { <b>{move || count.get().value}</b> }
/// }
/// # let owner = Owner::new(); owner.set();
/// # let _ = Number(NumberProps { initial: Count::fresh(1, Timestamp::from_millis(0)) });
/// ```
///
/// The stream is opened after hydration and reopened for ever, with growing, jittered pauses; also one that has been
/// silent for a minute, or has slept. It is closed when the page goes away and when the component does.
///
/// ## Server-Side Rendering
/// The count is the initial one; nothing is opened.
#[must_use]
pub fn use_viewer_count(channel: &str, initial: Count) -> UseViewerCountReturn {
    use_viewer_count_with_options(channel, initial, UseViewerCountOptions::default())
}

/// [`use_viewer_count`] with options.
#[must_use]
pub fn use_viewer_count_with_options(
    channel: &str,
    initial: Count,
    options: UseViewerCountOptions,
) -> UseViewerCountReturn {
    let (count, set_count) = signal(initial);
    let reader = Local::new(|| {
        Rc::new(Reader {
            url: format!("/api/viewer/sse/{channel}"),
            watchdog: RefCell::default(),
            stream: RefCell::default(),
            timer: RefCell::default(),
            events: RefCell::default(),
            told: Cell::new(initial),
            set_count,
            on_event: options.on_event,
        })
    });
    // Effects run in browsers only, after hydration.
    Effect::new({
        let reader = reader.clone();
        move || {
            let Some(reader) = reader.get() else { return };
            reader.listen();
            if !platform::is_prerendering() {
                reader.open();
            }
        }
    });
    on_cleanup(move || {
        if let Some(reader) = reader.get() {
            reader.events.take();
            reader.close();
        }
    });
    UseViewerCountReturn { count }
}

/// The stream of one channel, and what keeps it open.
struct Reader {
    url: String,
    watchdog: RefCell<Watchdog>,
    stream: RefCell<Option<EventStream>>,
    timer: RefCell<Option<Timer>>,
    events: RefCell<Option<PageEvents>>,
    /// What the server has said last.
    told: Cell<Count>,
    set_count: WriteSignal<Count>,
    on_event: Option<Local<dyn Fn()>>,
}

impl Reader {
    fn listen(self: &Rc<Self>) {
        let reader = Rc::downgrade(self);
        let events = platform::on_page_event(move |event| {
            let Some(reader) = reader.upgrade() else { return };
            match event {
                PageEvent::Closed => reader.close(),
                PageEvent::Activated | PageEvent::Restored | PageEvent::Online => reader.open(),
                PageEvent::Seen { hidden: false } | PageEvent::Resumed => reader.check(),
                PageEvent::Seen { hidden: true } => {}
            }
        });
        self.events.replace(Some(events));
    }

    /// Opens the stream; one that is open is closed before.
    fn open(self: &Rc<Self>) {
        self.watchdog.borrow_mut().opened(platform::now());
        let reader = Rc::downgrade(self);
        // The old one goes first, so that a page never has two.
        self.stream.take();
        let stream = EventStream::open(&self.url, move |event| {
            if let Some(reader) = reader.upgrade() {
                reader.on(&event);
            }
        });
        self.stream.replace(Some(stream));
        self.set_timer();
    }

    fn close(&self) {
        self.stream.take();
        self.timer.take();
    }

    fn on(self: &Rc<Self>, event: &StreamEvent) {
        if *event == StreamEvent::Broken {
            // Closed, so that the browser doesn't open it as well.
            self.stream.take();
            self.watchdog.borrow_mut().broke(platform::now(), platform::random());
            self.set_timer();
            return;
        }
        self.watchdog.borrow_mut().heard(platform::now());
        if let StreamEvent::Message(data) = event
            && let Ok(update) = serde_json::from_str::<CountUpdate>(data)
        {
            self.told.set(update.count());
        }
        // Also at a tick: what was shown as stale during a silence is good again.
        self.show(self.told.get());
        if let Some(on_event) = self.on_event.as_ref().and_then(Local::get) {
            on_event();
        }
    }

    fn show(&self, count: Count) {
        self.set_count.try_maybe_update(|shown| {
            let is_news = *shown != count;
            *shown = count;
            (is_news, ())
        });
    }

    /// Looks after the stream: is what it shows still good, does it have to be opened anew?
    fn check(self: &Rc<Self>) {
        let verdict = self.watchdog.borrow_mut().check(platform::now());
        if verdict != Verdict::Fine {
            self.show(Count { stale: true, ..self.told.get() });
        }
        if verdict == Verdict::Reopen {
            self.open();
        } else {
            self.set_timer();
        }
    }

    fn set_timer(self: &Rc<Self>) {
        let reader = Rc::downgrade(self);
        let timer = platform::after(self.watchdog.borrow().wait(platform::now()), move || {
            if let Some(reader) = reader.upgrade() {
                reader.check();
            }
        });
        self.timer.replace(Some(timer));
    }
}
