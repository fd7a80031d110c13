use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use leptos::prelude::*;

use super::{Channel, after_hydration, endpoints, shared_stream};
use crate::{
    browser::{
        Tracker,
        tracker::{Command, Event},
    },
    domain::ChannelId,
    platform::{self, Answer, Guard, Local, PageEvent},
};

/// Options of [`use_viewer_tracker_with_options`].
#[derive(Clone)]
pub struct UseViewerTrackerOptions {
    interval: f64,
    immediate: bool,
    once_seen: bool,
    ticket: String,
}

impl Default for UseViewerTrackerOptions {
    fn default() -> Self {
        Self { interval: 30_000.0, immediate: true, once_seen: false, ticket: String::new() }
    }
}

impl fmt::Debug for UseViewerTrackerOptions {
    /// Hides the ticket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UseViewerTrackerOptions")
            .field("interval", &self.interval)
            .field("immediate", &self.immediate)
            .field("once_seen", &self.once_seen)
            .finish_non_exhaustive()
    }
}

impl UseViewerTrackerOptions {
    /// Milliseconds between beats, until an answer of the server sets another interval. Defaults to 30,000.
    #[must_use]
    pub fn interval(self, interval: f64) -> Self {
        Self { interval, ..self }
    }

    /// Whether to join when the component is mounted. Otherwise call [`UseViewerTrackerReturn::start`]. Defaults to
    /// `true`.
    #[must_use]
    pub fn immediate(self, immediate: bool) -> Self {
        Self { immediate, ..self }
    }

    /// Whether to join only once half of the page's `<main>` has been on screen. Meant for pages in frames, which may
    /// never be scrolled to. Where the browser can't tell, the page joins at once. Defaults to `false`.
    #[must_use]
    pub fn once_seen(self, once_seen: bool) -> Self {
        Self { once_seen, ..self }
    }

    /// The ticket of your backend that says who the viewer is; see `docs/tickets.md`. It is kept in memory only. Defaults
    /// to an empty text: none.
    #[must_use]
    pub fn ticket(self, ticket: impl Into<String>) -> Self {
        Self { ticket: ticket.into(), ..self }
    }
}

/// The return value of [`use_viewer_tracker`].
#[derive(Clone)]
pub struct UseViewerTrackerReturn {
    /// Whether the server counts this page.
    pub is_counted: ReadSignal<bool>,
    page: Local<Page>,
}

impl UseViewerTrackerReturn {
    /// Joins, unless the page has already joined.
    pub fn start(&self) {
        if let Some(page) = self.page.get() {
            page.start();
        }
    }

    /// Takes a newer ticket, or the first one. A page that was counted without one starts a new session.
    pub fn renew_ticket(&self, ticket: impl Into<String>) {
        if let Some(page) = self.page.get() {
            page.renew_ticket(ticket.into());
        }
    }

    /// Sends a beat if one is due. Call it at events such as those of a stream, because browsers throttle timers of
    /// hidden pages.
    pub fn wake(&self) {
        if let Some(page) = self.page.get() {
            page.on(Event::Woken);
        }
    }
}

/// Counts this page as a viewer of a channel while it is open.
///
/// ## Usage
/// ```
/// # use leptos::prelude::*;
/// # use aforo::{domain::ChannelId, hooks::{use_viewer_tracker, UseViewerTrackerReturn}};
/// #[component]
/// fn Watching(#[prop(into)] channel: Signal<ChannelId>) -> impl IntoView {
///     let UseViewerTrackerReturn { is_counted, .. } = use_viewer_tracker(channel);
///     view! { <p>{move || if is_counted.get() { "counted" } else { "…" }}</p> }
/// }
/// # let owner = Owner::new(); owner.set();
/// # let _ = view! { <Watching channel=ChannelId::parse("ana").unwrap() /> };
/// ```
///
/// The page joins once and then beats every 24–30 s. It also beats when it hides, becomes visible, resumes, or goes
/// online after a failure, and it leaves by beacon when it closes. In Firefox it leaves when it is about to unload, and
/// joins again if it stays. A page restored from the back/forward cache starts a new session. A prerendered page waits
/// until it is shown. Failures back off, and retries never stop. See [`Tracker`] for the rules.
///
/// When the channel changes, the page leaves the old channel and joins the new one in a new session. When the component
/// is disposed of, the page leaves, and all timers and listeners end.
///
/// ## Server-Side Rendering
/// Does nothing: rendering a page counts no viewer.
pub fn use_viewer_tracker(channel: impl Into<Signal<ChannelId>>) -> UseViewerTrackerReturn {
    use_viewer_tracker_with_options(channel, UseViewerTrackerOptions::default())
}

/// [`use_viewer_tracker`] with options.
pub fn use_viewer_tracker_with_options(
    channel: impl Into<Signal<ChannelId>>,
    options: UseViewerTrackerOptions,
) -> UseViewerTrackerReturn {
    track(channel.into(), options)
}

/// [`use_viewer_tracker_with_options`], for fixed channels too.
pub(crate) fn track(channel: impl Channel, options: UseViewerTrackerOptions) -> UseViewerTrackerReturn {
    let (is_counted, set_counted) = signal(false);
    let page = Local::new(|| {
        Rc::new(Page {
            channel: RefCell::new(channel.name()),
            session: RefCell::default(),
            tracker: RefCell::new(Tracker::new(options.interval)),
            ticket: RefCell::new(options.ticket),
            is_wanted: Cell::default(),
            request: RefCell::default(),
            timer: RefCell::default(),
            events: RefCell::default(),
            seen: RefCell::default(),
            set_counted,
        })
    });
    after_hydration({
        let page = page.clone();
        Box::new(move || {
            let Some(page) = page.get() else { return };
            if !page.ticket.borrow().is_empty() {
                page.on(Event::Ticket);
            }
            page.listen();
            if options.immediate && options.once_seen {
                page.start_once_seen();
            } else if options.immediate {
                page.start();
            }
        })
    });
    channel.on_change({
        let page = page.clone();
        move |channel| {
            if let Some(page) = page.get() {
                page.switch_channel(channel);
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

/// The page as a viewer: the state machine with its timers, listeners and requests.
struct Page {
    channel: RefCell<String>,
    /// The session id, new whenever the page opens or switches to another channel. Empty before that.
    session: RefCell<String>,
    tracker: RefCell<Tracker>,
    /// The ticket, if the page has one.
    ticket: RefCell<String>,
    /// Whether the page should be a viewer.
    is_wanted: Cell<bool>,
    /// The request in flight. Dropping it cancels it.
    request: RefCell<Option<Guard>>,
    timer: RefCell<Option<Guard>>,
    events: RefCell<Option<Guard>>,
    seen: RefCell<Option<Guard>>,
    set_counted: WriteSignal<bool>,
}

impl Page {
    fn listen(self: &Rc<Self>) {
        let page = Rc::downgrade(self);
        let events = platform::on_page_event(move |event| {
            let Some(page) = page.upgrade() else { return };
            match event {
                PageEvent::Seen { hidden } => page.on(Event::Seen { hidden }),
                PageEvent::Unloading => page.on(Event::Unloading),
                PageEvent::Closed => page.on(Event::Closed),
                PageEvent::Activated | PageEvent::Restored if page.is_wanted.get() => page.open(),
                PageEvent::Resumed => page.on(Event::Woken),
                PageEvent::Online => page.on(Event::Online),
                PageEvent::Activated | PageEvent::Restored | PageEvent::Frozen | PageEvent::Offline => {}
            }
        });
        self.events.replace(Some(events));
    }

    fn start_once_seen(self: &Rc<Self>) {
        let page = Rc::downgrade(self);
        let seen = platform::once_seen(move || {
            if let Some(page) = page.upgrade() {
                page.start();
            }
        });
        self.seen.replace(Some(seen));
    }

    fn start(self: &Rc<Self>) {
        if !self.is_wanted.replace(true) && !platform::is_prerendering() {
            self.open();
        }
    }

    /// Switches to another channel.
    fn switch_channel(self: &Rc<Self>, channel: String) {
        let is_open = self.tracker.borrow().is_awake();
        if is_open {
            self.on(Event::Closed);
        }
        self.channel.replace(channel);
        if is_open {
            self.open();
        }
    }

    fn renew_ticket(self: &Rc<Self>, ticket: String) {
        // A page without a ticket may be counted as another viewer.
        let is_other = {
            let tracker = self.tracker.borrow();
            tracker.is_awake() && !tracker.has_ticket()
        };
        if is_other {
            self.on(Event::Closed);
        }
        self.ticket.replace(ticket);
        self.on(Event::Ticket);
        if is_other {
            self.open();
        }
    }

    fn open(self: &Rc<Self>) {
        self.session.replace(platform::new_id());
        self.on(Event::Opened { hidden: platform::is_hidden() });
    }

    fn end(self: &Rc<Self>) {
        self.events.take();
        self.seen.take();
        self.on(Event::Closed);
    }

    fn on(self: &Rc<Self>, event: Event) {
        let command = self.tracker.borrow_mut().on(event, platform::now(), platform::random());
        match command {
            Some(Command::Leave) => self.leave(),
            Some(Command::Join { hidden, ticket }) => self.send(endpoints::JOIN, hidden, ticket),
            Some(Command::Heartbeat { hidden, ticket }) => self.send(endpoints::HEARTBEAT, hidden, ticket),
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

    fn send(self: &Rc<Self>, path: &str, hidden: bool, shows_ticket: bool) {
        let page = Rc::downgrade(self);
        let (channel, session, ticket) = (self.channel.borrow(), self.session.borrow(), self.ticket.borrow());
        let ticket = if shows_ticket { ticket.as_str() } else { "" };
        let request = platform::beat(path, &channel, &session, hidden, ticket, move |answer| {
            let Some(page) = page.upgrade() else { return };
            let is_counted = match answer {
                Answer::Counted { .. } => Some(true),
                Answer::NotCounted | Answer::Refused { .. } => Some(false),
                Answer::Failed { .. } => None,
            };
            let (event, count) = match answer {
                Answer::Counted { interval, count } => (Event::Answered { active: true, interval }, count),
                Answer::NotCounted => (Event::Answered { active: false, interval: None }, String::new()),
                Answer::Refused { wants_ticket } => (Event::Refused { wants_ticket }, String::new()),
                Answer::Failed { retry_after } => (Event::Failed { retry_after }, String::new()),
            };
            page.on(event);
            // Last, so that effects of the signal can't keep the next beat from being scheduled.
            if let Some(is_counted) = is_counted {
                page.set_counted.try_set(is_counted);
            }
            if !count.is_empty() {
                shared_stream::on_counts(count);
            }
        });
        self.request.replace(Some(request));
    }

    fn leave(&self) {
        // Send the leave first, so that no cleanup can delay it.
        platform::leave(endpoints::LEAVE, &self.channel.borrow(), &self.session.borrow());
        // A pending heartbeat must not arrive after the leave. A pending join leaves again when it ends.
        self.request.take();
        self.set_counted.try_set(false);
    }
}
