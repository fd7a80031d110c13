use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::{prelude::*, task::spawn_local};

use crate::{
    api::{self, Problem},
    domain::{
        Tracker,
        tracker::{Command, Event},
    },
    platform::{self, Local, PageEvent, PageEvents, Timer},
};

/// Options of [`use_viewer_tracker_with_options`].
#[derive(Debug, Clone, Copy)]
pub struct UseViewerTrackerOptions {
    interval: f64,
    immediate: bool,
}

impl Default for UseViewerTrackerOptions {
    fn default() -> Self {
        Self { interval: 30_000.0, immediate: true }
    }
}

impl UseViewerTrackerOptions {
    /// Milliseconds between beats, until the server's answer to the join says otherwise. Defaults to 30,000.
    #[must_use]
    pub fn interval(self, interval: f64) -> Self {
        Self { interval, ..self }
    }

    /// Whether to join as soon as the component is there. Defaults to `true`; otherwise [`UseViewerTrackerReturn::start`]
    /// does.
    #[must_use]
    pub fn immediate(self, immediate: bool) -> Self {
        Self { immediate, ..self }
    }
}

/// What [`use_viewer_tracker`] returns.
#[derive(Clone)]
pub struct UseViewerTrackerReturn {
    /// Whether the server counts this page.
    pub is_counted: ReadSignal<bool>,
    page: Local<Page>,
}

impl UseViewerTrackerReturn {
    /// Joins, if the page has not yet.
    pub fn start(&self) {
        if let Some(page) = self.page.get() {
            page.start();
        }
    }

    /// Tells the tracker of a sign of life, such as an event on a stream: an occasion to beat that browsers don't slow
    /// down as they do timers.
    pub fn wake(&self) {
        if let Some(page) = self.page.get() {
            page.on(Event::Woken);
        }
    }
}

/// Counts this page as a viewer of a channel, from when it is shown until it goes away.
///
/// ## Usage
/// ```
/// # use leptos::prelude::*;
/// # use aforo::hooks::{use_viewer_tracker, UseViewerTrackerReturn};
/// #[component]
/// fn Watching() -> impl IntoView {
///     let UseViewerTrackerReturn { is_counted, .. } = use_viewer_tracker("ana".to_owned());
///     view! { <p>{move || if is_counted.get() { "counted" } else { "…" }}</p> }
/// }
/// # let owner = Owner::new(); owner.set(); let _ = Watching();
/// ```
///
/// One join, then beats every 24–30 s; also when the page hides, comes back, is resumed or goes online; a leave by beacon
/// when it closes; a new session when it returns from the back/forward cache. A page that is being prerendered waits
/// until it is shown. Failures back off and never end it. See [`Tracker`] for the rules.
///
/// When the component goes away, the page leaves and every timer and listener ends.
///
/// ## Server-Side Rendering
/// Does nothing: rendering counts nobody.
pub fn use_viewer_tracker(channel: String) -> UseViewerTrackerReturn {
    use_viewer_tracker_with_options(channel, UseViewerTrackerOptions::default())
}

/// [`use_viewer_tracker`] with options.
pub fn use_viewer_tracker_with_options(
    channel: String,
    options: UseViewerTrackerOptions,
) -> UseViewerTrackerReturn {
    let (is_counted, set_counted) = signal(false);
    let page = Local::new(|| {
        Rc::new(Page {
            channel,
            session: RefCell::default(),
            tracker: RefCell::new(Tracker::new(options.interval)),
            request: Cell::new(0),
            timer: RefCell::default(),
            events: RefCell::default(),
            set_counted,
        })
    });
    // Effects run in browsers only, after hydration.
    Effect::new({
        let page = page.clone();
        move || {
            let Some(page) = page.get() else { return };
            page.listen();
            if options.immediate {
                page.start();
            }
        }
    });
    on_cleanup({
        let page = page.clone();
        move || {
            if let Some(page) = page.get() {
                page.end();
            }
        }
    });
    UseViewerTrackerReturn { is_counted, page }
}

/// The page as a viewer: the state machine, and what it needs to act.
struct Page {
    channel: String,
    /// Made anew whenever the page opens; empty before that.
    session: RefCell<String>,
    tracker: RefCell<Tracker>,
    /// Numbers the requests, so that the answer to one that was given up is not taken for the answer to the next.
    request: Cell<u32>,
    timer: RefCell<Option<Timer>>,
    events: RefCell<Option<PageEvents>>,
    set_counted: WriteSignal<bool>,
}

impl Page {
    fn listen(self: &Rc<Self>) {
        let page = Rc::downgrade(self);
        let events = platform::on_page_event(move |event| {
            let Some(page) = page.upgrade() else { return };
            match event {
                PageEvent::Seen { hidden } => page.on(Event::Seen { hidden }),
                PageEvent::Closed => page.on(Event::Closed),
                PageEvent::Activated => page.start(),
                PageEvent::Restored => page.open(),
                PageEvent::Resumed => page.on(Event::Woken),
                PageEvent::Online => page.on(Event::Online),
            }
        });
        self.events.replace(Some(events));
    }

    fn start(self: &Rc<Self>) {
        if self.session.borrow().is_empty() && !platform::is_prerendering() {
            self.open();
        }
    }

    fn open(self: &Rc<Self>) {
        self.session.replace(platform::new_id());
        self.on(Event::Opened { hidden: platform::is_hidden() });
    }

    fn end(self: &Rc<Self>) {
        self.events.take();
        self.on(Event::Closed);
    }

    fn on(self: &Rc<Self>, event: Event) {
        let command = self.tracker.borrow_mut().on(event, platform::now(), platform::random());
        match command {
            Some(Command::Leave) => self.leave(),
            Some(Command::Join { hidden }) => self.send(hidden, true),
            Some(Command::Heartbeat { hidden }) => self.send(hidden, false),
            None => {}
        }
        self.set_timer();
    }

    fn set_timer(self: &Rc<Self>) {
        let wait = self.tracker.borrow().wait(platform::now());
        let timer = wait.map(|wait| {
            let page = Rc::downgrade(self);
            platform::after(wait, move || {
                if let Some(page) = page.upgrade() {
                    page.on(Event::Woken);
                }
            })
        });
        self.timer.replace(timer);
    }

    fn send(self: &Rc<Self>, hidden: bool, joins: bool) {
        let page = Rc::downgrade(self);
        let (channel, viewer, session) =
            (self.channel.clone(), platform::viewer_id(), self.session.borrow().clone());
        let request = self.request.get().wrapping_add(1);
        self.request.set(request);
        spawn_local(async move {
            let event = if joins {
                let joined = api::join(channel, Some(viewer), Some(session), Some(hidden)).await;
                answered(joined.map(|joined| (true, Some(joined.heartbeat_interval_ms))))
            } else {
                let beat = api::heartbeat(channel, viewer, Some(session), Some(hidden)).await;
                answered(beat.map(|beat| (beat.active, None)))
            };
            // The component may be gone, or the page closed and opened again, by now.
            let Some(page) = page.upgrade().filter(|page| page.request.get() == request) else { return };
            if let Event::Answered { active, .. } = event {
                page.set_counted.try_set(active);
            }
            page.on(event);
        });
    }

    fn leave(&self) {
        let body = format!(
            r#"{{"channelId":"{}","viewerId":"{}","sessionId":"{}"}}"#,
            self.channel,
            platform::viewer_id(),
            self.session.borrow(),
        );
        // An answer that is still to come is not of interest any more.
        self.request.set(self.request.get().wrapping_add(1));
        platform::send_beacon(api::LEAVE_PATH, &body);
        self.set_counted.try_set(false);
    }
}

/// The answer as an event: whether the session is counted, and the interval if there is one.
fn answered(answer: Result<(bool, Option<u32>), Problem>) -> Event {
    match answer {
        Ok((active, interval)) => Event::Answered { active, interval: interval.map(f64::from) },
        Err(problem) => {
            Event::Failed { retry_after: f64::from(problem.retry_after.unwrap_or_default()) * 1_000.0 }
        }
    }
}
