//! The event stream of this tab, for all who watch a channel on its page: see [`TabSync`] for the rules.

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
    platform::{self, Leading, Ongoing, PageEvent, StreamEvent},
};

/// The most channels of one stream; for more, there are more streams.
const MAX_CHANNELS: usize = 50;

/// What comes in for who watches a channel.
pub(super) enum Heard {
    /// A count.
    CountMessage(CountMessage),
    /// Anything, ticks included: a sign of life.
    KeepAlive,
    /// Nothing but how current the last count is.
    State,
}

/// Takes what comes in, and how current the last count is with it.
type Callback = dyn Fn(Heard, CountState);

/// Watches a channel until it is dropped.
pub(super) struct Watching {
    channel: RefCell<String>,
    /// Whether it needs to hear also while nobody sees the page.
    while_hidden: bool,
    callback: Box<Callback>,
}

/// The stream, where one watches at least.
struct SharedStream {
    relay: RefCell<TabSync>,
    watching: RefCell<Vec<Weak<Watching>>>,
    state: Cell<CountState>,
    streams: RefCell<Vec<Ongoing>>,
    leading: RefCell<Option<Ongoing>>,
    /// What the server was asked, and has not answered yet.
    question: RefCell<Option<Ongoing>>,
    timer: RefCell<Option<Ongoing>>,
    tabs: RefCell<Option<Ongoing>>,
    events: RefCell<Option<Ongoing>>,
}

thread_local! {
    static STREAM: Rc<SharedStream> = Rc::new(SharedStream {
        relay: RefCell::new(TabSync::new(platform::new_id())),
        watching: RefCell::default(),
        state: Cell::new(CountState::Live),
        streams: RefCell::default(),
        leading: RefCell::default(),
        question: RefCell::default(),
        timer: RefCell::default(),
        tabs: RefCell::default(),
        events: RefCell::default(),
    });
}

/// Calls back at everything that comes in for a channel; `while_hidden`: also while nobody sees the page.
pub(super) fn watch(channel: String, while_hidden: bool, callback: Box<Callback>) -> Rc<Watching> {
    let watching = Rc::new(Watching { channel: RefCell::new(channel), while_hidden, callback });
    STREAM.with(|stream| stream.watching.borrow_mut().push(Rc::downgrade(&watching)));
    watching.begin();
    watching
}

/// Takes in counts with which the server has answered something else, such as a beat.
pub(super) fn learn(counts: String) {
    STREAM.with(|stream| stream.on(Event::Told(counts)));
}

impl Watching {
    /// Watches another channel from here on.
    pub(super) fn turn(&self, channel: String) {
        self.channel.replace(channel);
        self.begin();
    }

    /// Has the stream follow, and hears what that has told already.
    fn begin(&self) {
        STREAM.with(|stream| {
            stream.begin();
            let told = stream.relay.borrow().told(&self.channel.borrow());
            (self.callback)(told.map_or(Heard::State, Heard::CountMessage), stream.state.get());
        });
    }
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
        let watching = self.watching();
        let mut channels = Vec::new();
        for watching in &watching {
            let channel = watching.channel.borrow();
            if !channels.contains(&*channel) {
                channels.push(channel.clone());
            }
        }
        self.on(Event::Watching {
            channels,
            shares: self.tabs.borrow().is_some(),
            hidden: platform::is_hidden(),
            needed: watching.iter().any(|watching| watching.while_hidden),
        });
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
        let before = self.state.replace(self.relay.borrow().state(now));
        for command in todo {
            self.execute(command);
        }
        if self.state.get() != before {
            self.tell(|| Heard::State);
        }
        let wait = self.relay.borrow().wait(now);
        let stream = Rc::clone(self);
        self.timer.replace(wait.map(|wait| platform::after(wait, move || stream.on(Event::Woken))));
    }

    /// Tells all who watch.
    fn tell(&self, heard: fn() -> Heard) {
        for watching in self.watching() {
            (watching.callback)(heard(), self.state.get());
        }
    }

    fn execute(self: &Rc<Self>, command: Command) {
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
                self.question.take();
            }
            Command::Broadcast(text) => platform::tell(&text),
            Command::Ask => {
                let stream = Rc::clone(self);
                let answered = move |answered| stream.on(Event::Answered(answered));
                self.question.replace(Some(platform::probe(endpoints::PING, ANSWER_TIMEOUT, answered)));
            }
            Command::Count(channels) => {
                let stream = Rc::clone(self);
                let answered = move |counts: Option<String>| {
                    stream.on(counts.map_or(Event::Answered(false), Event::Told));
                };
                let path = [endpoints::COUNTS, &channels.join(",")].concat();
                self.question.replace(Some(platform::counts(&path, ANSWER_TIMEOUT, answered)));
            }
            Command::Show(news) => {
                for watching in self.watching() {
                    if *watching.channel.borrow() == news.channel {
                        (watching.callback)(Heard::CountMessage(news.clone()), self.state.get());
                    }
                }
            }
            Command::Wake => self.tell(|| Heard::KeepAlive),
        }
    }

    fn open(self: &Rc<Self>, channels: &[String]) -> Ongoing {
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
