//! The event stream of this tab, for all who watch a channel on its page: see [`Relay`] for the rules.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use crate::{
    domain::{
        Relay,
        relay::{Command, Event, News},
        watchdog::ANSWER_TIMEOUT,
    },
    platform::{self, Leading, Ongoing, PageEvent, StreamEvent},
};

/// The most channels of one stream; for more, there are more streams.
const MAX_CHANNELS: usize = 50;

/// Where the server says whether it is there. Nothing is read or counted for it.
const PROBE_PATH: &str = "/healthz";

/// What comes in for who watches a channel.
pub(super) enum Heard {
    /// A count.
    News(News),
    /// Anything, ticks included: a sign of life.
    Life,
    /// From here on, or no more, what was told last may be old.
    Stale(bool),
}

/// Watches a channel until it is dropped.
pub(super) struct Watching {
    channel: String,
    callback: Box<dyn Fn(Heard)>,
}

/// The stream, where one watches at least.
struct SharedStream {
    relay: RefCell<Relay>,
    watching: RefCell<Vec<Weak<Watching>>>,
    is_stale: Cell<bool>,
    streams: RefCell<Vec<Ongoing>>,
    leading: RefCell<Option<Ongoing>>,
    probe: RefCell<Option<Ongoing>>,
    timer: RefCell<Option<Ongoing>>,
    tabs: RefCell<Option<Ongoing>>,
    events: RefCell<Option<Ongoing>>,
}

thread_local! {
    static STREAM: Rc<SharedStream> = Rc::new(SharedStream {
        relay: RefCell::new(Relay::new(platform::new_id())),
        watching: RefCell::default(),
        is_stale: Cell::default(),
        streams: RefCell::default(),
        leading: RefCell::default(),
        probe: RefCell::default(),
        timer: RefCell::default(),
        tabs: RefCell::default(),
        events: RefCell::default(),
    });
}

/// Calls back at everything that comes in for a channel.
pub(super) fn watch(channel: String, callback: Box<dyn Fn(Heard)>) -> Rc<Watching> {
    let watching = Rc::new(Watching { channel, callback });
    STREAM.with(|stream| {
        stream.watching.borrow_mut().push(Rc::downgrade(&watching));
        stream.begin();
    });
    watching
}

impl Drop for Watching {
    fn drop(&mut self) {
        STREAM.with(SharedStream::begin);
    }
}

impl SharedStream {
    /// Has the relay know what is watched now.
    fn begin(self: &Rc<Self>) {
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
        let mut channels = Vec::new();
        for watching in self.watching() {
            if !channels.contains(&watching.channel) {
                channels.push(watching.channel.clone());
            }
        }
        let shares = self.tabs.borrow().is_some();
        self.on(Event::Watching { channels, shares, hidden: platform::is_hidden() });
    }

    fn watching(&self) -> Vec<Rc<Watching>> {
        self.watching.borrow_mut().retain(|watching| watching.strong_count() > 0);
        self.watching.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    fn on_page_event(self: &Rc<Self>, event: PageEvent) {
        match event {
            PageEvent::Seen { hidden } => self.on(Event::Seen { hidden }),
            PageEvent::Closed | PageEvent::Frozen => {
                self.on(Event::Closed);
                // A page with an open channel to other tabs is not kept for coming back.
                self.tabs.take();
            }
            PageEvent::Activated | PageEvent::Restored | PageEvent::Resumed => self.begin(),
            PageEvent::Online => self.on(Event::Online),
            PageEvent::Offline => self.on(Event::Offline),
            // The badge of a page that stays after all has missed nothing.
            PageEvent::Unloading => {}
        }
    }

    fn on(self: &Rc<Self>, event: Event) {
        let now = platform::now();
        let todo = self.relay.borrow_mut().on(event, now, platform::random());
        for command in todo {
            self.obey(command);
        }
        let is_stale = self.relay.borrow().is_stale(now);
        if self.is_stale.replace(is_stale) != is_stale {
            for watching in self.watching() {
                (watching.callback)(Heard::Stale(is_stale));
            }
        }
        let wait = self.relay.borrow().wait(now);
        let stream = Rc::clone(self);
        self.timer.replace(wait.map(|wait| platform::after(wait, move || stream.on(Event::Woken))));
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Open(channels) => {
                // The old ones go first, so that a browser never has two for one.
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
                self.probe.take();
            }
            Command::Say(text) => platform::tell(&text),
            Command::Ask => {
                let stream = Rc::clone(self);
                let answered = move |answered| stream.on(Event::Answered(answered));
                self.probe.replace(Some(platform::probe(PROBE_PATH, ANSWER_TIMEOUT, answered)));
            }
            Command::Show(news) => {
                for watching in self.watching() {
                    if watching.channel == news.channel {
                        (watching.callback)(Heard::News(news.clone()));
                    }
                }
            }
            Command::Wake => {
                for watching in self.watching() {
                    (watching.callback)(Heard::Life);
                }
            }
        }
    }

    fn open(self: &Rc<Self>, channels: &[String]) -> Ongoing {
        let stream = Rc::clone(self);
        let url = match channels {
            [channel] => ["/api/viewer/sse/", channel].concat(),
            _ => ["/api/viewer/sse?channels=", &channels.join(",")].concat(),
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
