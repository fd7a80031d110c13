//! The event stream of this tab, shared by all subscriptions of the page. See [`TabSync`] for the rules.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use super::endpoints;
use crate::{
    browser::{
        TabSync,
        tab_sync::{Command, CountMessage, Event},
        watchdog::ANSWER_TIMEOUT,
    },
    domain::count::CountState,
    platform::{self, Guard, Leading, PageEvent, StreamEvent},
};

/// The maximum number of channels per stream. More channels need more streams.
const MAX_CHANNELS: usize = 50;

/// An update for the subscription of a channel.
pub(super) enum ChannelUpdate {
    /// A count.
    CountMessage(CountMessage),
    /// Any event, ticks included: a sign of life.
    KeepAlive,
    /// The state of the last count has changed.
    State,
}

/// Gets each update with the state of the last count.
type Callback = dyn Fn(ChannelUpdate, CountState);

/// A subscription to a channel. Ends when dropped.
pub(super) struct Subscription {
    channel: RefCell<String>,
    /// Whether the subscription needs updates while the page is hidden too.
    while_hidden: bool,
    callback: Box<Callback>,
}

/// The stream of the page. Open while there is at least one subscription.
struct SharedStream {
    tab_sync: RefCell<TabSync>,
    subscriptions: RefCell<Vec<Weak<Subscription>>>,
    state: Cell<CountState>,
    streams: RefCell<Vec<Guard>>,
    leading: RefCell<Option<Guard>>,
    /// The request in flight: a ping or a request for counts.
    request: RefCell<Option<Guard>>,
    timer: RefCell<Option<Guard>>,
    tabs: RefCell<Option<Guard>>,
    events: RefCell<Option<Guard>>,
}

thread_local! {
    static STREAM: Rc<SharedStream> = Rc::new(SharedStream {
        tab_sync: RefCell::new(TabSync::new(platform::new_id())),
        subscriptions: RefCell::default(),
        state: Cell::new(CountState::Live),
        streams: RefCell::default(),
        leading: RefCell::default(),
        request: RefCell::default(),
        timer: RefCell::default(),
        tabs: RefCell::default(),
        events: RefCell::default(),
    });
}

/// Calls back for every update of a channel. With `while_hidden`, also while the page is hidden.
pub(super) fn subscribe(channel: String, while_hidden: bool, callback: Box<Callback>) -> Rc<Subscription> {
    let subscription = Rc::new(Subscription { channel: RefCell::new(channel), while_hidden, callback });
    STREAM.with(|stream| stream.subscriptions.borrow_mut().push(Rc::downgrade(&subscription)));
    subscription.start();
    subscription
}

/// Passes on counts from the answer to another request, such as a beat.
pub(super) fn on_counts(counts: String) {
    STREAM.with(|stream| stream.on(Event::Told(counts)));
}

impl Subscription {
    /// Changes the channel of the subscription.
    pub(super) fn switch_channel(&self, channel: String) {
        self.channel.replace(channel);
        self.start();
    }

    /// Updates the stream, and reports the latest count that it has already delivered.
    fn start(&self) {
        STREAM.with(|stream| {
            stream.refresh();
            let latest = stream.tab_sync.borrow().latest(&self.channel.borrow());
            (self.callback)(
                latest.map_or(ChannelUpdate::State, ChannelUpdate::CountMessage),
                stream.state.get(),
            );
        });
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        STREAM.with(SharedStream::refresh);
    }
}

impl SharedStream {
    /// Passes the current subscriptions to [`TabSync`].
    fn refresh(self: &Rc<Self>) {
        if self.events.borrow().is_none() {
            let stream = Rc::clone(self);
            self.events.replace(Some(platform::on_page_event(move |event| stream.on_page_event(event))));
        }
        if platform::is_prerendering() {
            return;
        }
        if self.tabs.borrow().is_none() {
            let stream = Rc::clone(self);
            self.tabs.replace(platform::join_tabs(move |text| stream.on(Event::Said(text))));
        }
        let subscriptions = self.subscriptions();
        let mut channels = Vec::new();
        for subscription in &subscriptions {
            let channel = subscription.channel.borrow();
            if !channels.contains(&*channel) {
                channels.push(channel.clone());
            }
        }
        self.on(Event::Watching {
            channels,
            shares: self.tabs.borrow().is_some(),
            hidden: platform::is_hidden(),
            needed: subscriptions.iter().any(|subscription| subscription.while_hidden),
        });
    }

    fn subscriptions(&self) -> Vec<Rc<Subscription>> {
        self.subscriptions.borrow_mut().retain(|subscription| subscription.strong_count() > 0);
        self.subscriptions.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn on_page_event(self: &Rc<Self>, event: PageEvent) {
        match event {
            PageEvent::Seen { hidden } => self.on(Event::Seen { hidden }),
            PageEvent::Closed | PageEvent::Frozen => {
                self.on(Event::Closed);
                // Browsers don't keep a page with an open broadcast channel in the back/forward cache.
                self.tabs.take();
            }
            PageEvent::Activated | PageEvent::Restored | PageEvent::Resumed => self.refresh(),
            PageEvent::Online => self.on(Event::Online),
            PageEvent::Offline => self.on(Event::Offline),
            // If the page stays, its stream has missed nothing.
            PageEvent::Unloading => {}
        }
    }

    fn on(self: &Rc<Self>, event: Event) {
        let now = platform::now();
        let commands = self.tab_sync.borrow_mut().on(event, now, platform::random());
        let before = self.state.replace(self.tab_sync.borrow().state(now));
        for command in commands {
            self.execute(command);
        }
        if self.state.get() != before {
            self.notify(|| ChannelUpdate::State);
        }
        let wait = self.tab_sync.borrow().wait(now);
        let stream = Rc::clone(self);
        self.timer.replace(wait.map(|wait| platform::after(wait, move || stream.on(Event::Woken))));
    }

    /// Sends an update to all subscriptions.
    fn notify(&self, update: fn() -> ChannelUpdate) {
        for subscription in self.subscriptions() {
            (subscription.callback)(update(), self.state.get());
        }
    }

    fn execute(self: &Rc<Self>, command: Command) {
        match command {
            Command::Open(channels) => {
                // Close the old streams first, so that they don't take up connections beside the new ones.
                self.streams.take();
                self.streams.replace(channels.chunks(MAX_CHANNELS).map(|part| self.open(part)).collect());
            }
            Command::Close => {
                self.streams.take();
            }
            Command::Lead { steal } => {
                self.leading.take();
                let stream = Rc::clone(self);
                self.leading.replace(Some(platform::lead(steal, move |leading| {
                    stream.on(match leading {
                        Leading::Granted => Event::Granted,
                        Leading::Taken => Event::Taken,
                    });
                })));
            }
            Command::Resign => {
                self.leading.take();
                self.request.take();
            }
            Command::Broadcast(text) => platform::broadcast(&text),
            Command::Ask => {
                let stream = Rc::clone(self);
                let answered = move |answered| stream.on(Event::Answered(answered));
                self.request.replace(Some(platform::probe(endpoints::PING, ANSWER_TIMEOUT, answered)));
            }
            Command::Count(channels) => {
                let stream = Rc::clone(self);
                let answered = move |counts: Option<String>| {
                    stream.on(counts.map_or(Event::Answered(false), Event::Told));
                };
                let path = [endpoints::COUNTS, &channels.join(",")].concat();
                self.request.replace(Some(platform::counts(&path, ANSWER_TIMEOUT, answered)));
            }
            Command::Show(message) => {
                for subscription in self.subscriptions() {
                    if *subscription.channel.borrow() == message.channel {
                        (subscription.callback)(
                            ChannelUpdate::CountMessage(message.clone()),
                            self.state.get(),
                        );
                    }
                }
            }
            Command::Wake => self.notify(|| ChannelUpdate::KeepAlive),
        }
    }

    fn open(self: &Rc<Self>, channels: &[String]) -> Guard {
        let stream = Rc::clone(self);
        let url = match channels {
            [channel] => [endpoints::STREAM, channel].concat(),
            _ => [endpoints::STREAMS, &channels.join(",")].concat(),
        };
        platform::open_stream(&url, move |event| {
            stream.on(match event {
                StreamEvent::Count(text) => Event::Count(text),
                StreamEvent::Tick => Event::Tick,
                StreamEvent::Broken => Event::Broken,
            });
        })
    }
}
