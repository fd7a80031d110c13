//! One event stream for all tabs of a browser, as a state machine without a browser.
//!
//! Over HTTP/1.1 a browser opens six connections to a server and no more: six tabs with a stream each, and the seventh
//! neither loads nor beats. So one tab, the leader, has the stream for whatever any tab watches, and tells the others
//! what comes in. Who leads is decided by a lock, which the browser passes on by itself when its holder closes or crashes.
//! Promises:
//!
//! - Every tab knows what the others watch, so that a new leader opens the right stream at once.
//! - A leader that says nothing when asked, or for a minute, is taken for frozen; its lock is taken from it. It is asked by
//!   each tab that comes into sight, and by one in sight that has heard nothing for a while.
//! - When the stream breaks or dies, every tab waits for a random moment, and whoever's comes first opens it. (The
//!   leader's own may come late: browsers hold the timers of hidden tabs back.)
//! - What is shown doesn't turn stale while the stream passes from tab to tab, or is reopened for more channels.
//! - Where tabs can't share, each leads itself.
//! - A tab that nobody sees rests: it takes no part, unless it needs to hear and tabs can share.
//! - What a tab shows when it comes back, from the browser's cache, a freeze or a rest, is stale until there are news.
//! - What can't be read, from the server or another tab, is as if it had not come.

use super::watchdog::{Verdict, Watchdog};
use crate::domain::{ChannelId, Count, Timestamp, count::CountState};

/// A tab that has not answered the roll call for this long, in milliseconds, is gone: it has crashed.
const ROLL_CALL: f64 = 10_000.0;

/// A count that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountMessage {
    /// Whose.
    pub channel: String,
    /// The count.
    pub count: Count,
}

impl CountMessage {
    /// Writes "ana 5 live 1790000000123"; an unknown count is "-", an old one is "stale".
    #[must_use]
    pub fn write(&self) -> String {
        let Count { value, stale, as_of } = self.count;
        let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let state = if stale { "stale" } else { "live" };
        [&*self.channel, &value, state, &as_of.as_millis().to_string()].join(" ")
    }

    /// Reads what [`CountMessage::write`] has written, and nothing else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (channel, value, state, as_of) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_number = |text: &str, longest| {
            (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_read = !channel.is_empty()
            && (value == "-" || is_number(value, 9))
            && (state == "live" || state == "stale")
            && is_number(as_of, 15)
            && words.next().is_none();
        if !is_read {
            return None;
        }
        Some(Self {
            channel: channel.to_owned(),
            count: Count {
                value: value.parse().ok(),
                stale: state == "stale",
                as_of: Timestamp::from_millis(as_of.parse().ok()?),
            },
        })
    }
}

/// What happens to a tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is there or back, or watches other channels than before.
    Watching {
        /// All channels that it watches.
        channels: Vec<String>,
        /// Whether tabs can share a stream.
        shares: bool,
        /// Whether nobody sees it.
        hidden: bool,
        /// Whether it needs to hear also while nobody sees it: what comes in is an occasion to beat.
        needed: bool,
    },
    /// It is closing, or is being frozen.
    Closed,
    /// It leads from now on.
    Granted,
    /// Another tab leads from now on, or nobody can.
    Taken,
    /// Another tab has said this.
    Said(String),
    /// A count came in on its stream.
    Count(String),
    /// A tick came in on its stream.
    Tick,
    /// Its stream broke.
    Broken,
    /// The server was asked, whether it is there or for counts, and has answered or not.
    Answered(bool),
    /// The server has answered a beat or a question with these counts, each as [`CountMessage`] are written, separated by commas.
    Told(String),
    /// It went out of sight, or came back.
    Seen {
        /// Whether nobody sees it.
        hidden: bool,
    },
    /// The network came back.
    Online,
    /// The network is gone.
    Offline,
    /// A timer fired.
    Woken,
}

/// What a tab has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Have a stream for these channels, instead of the one it has.
    Open(Vec<String>),
    /// Have no stream.
    Close,
    /// Ask for the lock; when `steal`, also from who has it.
    Lead {
        /// Whether to take it from a leader that says nothing.
        steal: bool,
    },
    /// Have the lock no more, and don't ask for it.
    Resign,
    /// Say this to the other tabs.
    Broadcast(String),
    /// Ask the server whether it is there.
    Ask,
    /// Ask the server for the counts of these channels.
    Count(Vec<String>),
    /// Show this count.
    Show(CountMessage),
    /// Something came in: an occasion to beat.
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It takes no part.
    Out,
    /// It takes no part until somebody sees it.
    Resting,
    /// It listens to the leader.
    Following,
    /// It has the stream.
    Leading,
}

/// Another tab.
#[derive(Debug)]
struct Other {
    name: String,
    /// What it watches.
    channels: Vec<String>,
    /// Since when it owes an answer to a roll call.
    called: Option<f64>,
}

/// One tab among those of a browser.
#[derive(Debug)]
pub struct TabSync {
    /// This tab's name among tabs.
    me: String,
    role: Role,
    shares: bool,
    hidden: bool,
    needed: bool,
    /// It took part before, and what it shows is of then.
    was_away: bool,
    mine: Vec<String>,
    others: Vec<Other>,
    /// What the stream was opened for.
    open: Vec<String>,
    /// What came in last on this stream, by channel.
    told: Vec<(String, String)>,
    watchdog: Watchdog,
}

impl TabSync {
    /// A tab that watches nothing yet. `me`: a name that no other tab has.
    #[must_use]
    pub fn new(me: String) -> Self {
        Self {
            me,
            role: Role::Out,
            shares: false,
            hidden: false,
            needed: false,
            was_away: false,
            mine: Vec::new(),
            others: Vec::new(),
            open: Vec::new(),
            told: Vec::new(),
            watchdog: Watchdog::default(),
        }
    }

    /// How current what is shown is. Where it takes no part, it is old.
    #[must_use]
    pub fn state(&self, now: f64) -> CountState {
        match self.watchdog.state(now) {
            CountState::Live if !self.takes_part() => CountState::Stale,
            state => state,
        }
    }

    /// What the stream of this tab has told of a channel, for who begins to watch it. A tab that follows asks the leader.
    #[must_use]
    pub fn told(&self, channel: &str) -> Option<CountMessage> {
        let told = self.told.iter().find(|(name, _)| self.role == Role::Leading && name == channel);
        CountMessage::read(&told?.1)
    }

    /// In how many milliseconds to wake it; `None` if there is nothing to wake it for.
    #[must_use]
    pub fn wait(&self, now: f64) -> Option<f64> {
        self.takes_part().then(|| self.watchdog.wait(now, self.hidden))
    }

    const fn takes_part(&self) -> bool {
        matches!(self.role, Role::Following | Role::Leading)
    }

    /// Takes in what has happened at `now` and says what to do, in this order. `random`: evenly from 0 to 1, fresh at
    /// each call.
    pub fn on(&mut self, event: Event, now: f64, random: f64) -> Vec<Command> {
        let mut todo = Vec::new();
        match event {
            Event::Watching { channels, shares, hidden, needed } => {
                self.mine = channels;
                self.mine.retain(|name| is_channel(name));
                self.shares = shares;
                self.hidden = hidden;
                self.needed = needed;
                self.watch(now, random, &mut todo);
            }
            Event::Seen { hidden } => {
                self.hidden = hidden;
                self.look(now, random, &mut todo);
            }
            Event::Closed => {
                if self.takes_part() {
                    self.leave(&mut todo);
                }
                self.role = Role::Out;
            }
            _ if !self.takes_part() => {}
            Event::Granted => {
                self.role = Role::Leading;
                self.open(now, &mut todo);
            }
            Event::Taken => self.step_down(now, random, &mut todo),
            Event::Said(text) => self.listen(&text, now, random, &mut todo),
            Event::Count(text) => self.on_message(&text, now, &mut todo),
            Event::Tick => {
                todo.push(Command::Broadcast("tick".to_owned()));
                self.live(now, &mut todo);
            }
            Event::Broken => {
                self.watchdog.broke(now, random);
                todo.extend([Command::Close, Command::Broadcast("broke".to_owned())]);
            }
            Event::Answered(answered) => self.watchdog.answered(now, answered),
            Event::Told(text) => self.learn(&text, now, random, &mut todo),
            Event::Online => {
                if self.state(now) != CountState::Live {
                    self.reopen(now, random, &mut todo);
                }
            }
            Event::Offline => self.watchdog.cut_off(now),
            Event::Woken => self.check(now, random, &mut todo),
        }
        todo
    }

    /// Sees to it that there is a stream, here or with the leader, for what this tab watches.
    fn watch(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        if self.mine.is_empty() {
            if self.takes_part() {
                self.leave(todo);
            }
            self.role = Role::Out;
            self.was_away = false;
            return;
        }
        let joins = !self.takes_part();
        if joins {
            self.watchdog.begun(now, self.was_away);
        }
        if self.hidden && !(self.needed && self.shares) {
            self.rest(todo);
            return;
        }
        if !self.shares {
            self.role = Role::Leading;
            self.open_if_lacking(now, todo);
        } else if self.role == Role::Leading {
            self.open_if_lacking(now, todo);
        } else {
            todo.push(self.say_what_it_watches("want"));
            self.watchdog.asked(now, random);
            if joins {
                self.role = Role::Following;
                todo.push(Command::Lead { steal: false });
            }
        }
    }

    /// It went out of sight, or came back.
    fn look(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        match self.role {
            Role::Out => {}
            Role::Resting => {
                if !self.hidden {
                    self.watch(now, random, todo);
                }
            }
            Role::Following | Role::Leading if self.hidden && !(self.needed && self.shares) => {
                self.rest(todo);
            }
            Role::Following | Role::Leading => {
                if !self.hidden {
                    self.call_leader(now, random, todo);
                }
                self.check(now, random, todo);
            }
        }
    }

    fn rest(&mut self, todo: &mut Vec<Command>) {
        if self.takes_part() {
            self.leave(todo);
        }
        self.role = Role::Resting;
        self.was_away = true;
    }

    /// Asks the tab that has the stream whether it is there: it may hang, and have said nothing.
    fn call_leader(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        if self.role == Role::Following {
            self.watchdog.asked(now, random);
            todo.push(Command::Broadcast("ask".to_owned()));
        }
    }

    fn say_what_it_watches(&self, word: &str) -> Command {
        Command::Broadcast([word, &self.me, &self.mine.join(",")].join(" "))
    }

    fn leave(&mut self, todo: &mut Vec<Command>) {
        self.was_away = true;
        self.open.clear();
        self.others.clear();
        todo.extend([Command::Broadcast(["bye", &self.me].join(" ")), Command::Close, Command::Resign]);
    }

    /// The lock is with another tab. A tab that never had it can't: this browser has locks and refuses them.
    fn step_down(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        if self.role == Role::Leading {
            self.role = Role::Following;
            self.open.clear();
            self.watchdog.opened(now);
            todo.extend([Command::Close, Command::Lead { steal: false }, self.say_what_it_watches("want")]);
        } else {
            self.shares = false;
            self.watch(now, random, todo);
        }
    }

    fn open_if_lacking(&mut self, now: f64, todo: &mut Vec<Command>) {
        let watched = self.mine.iter().chain(self.others.iter().flat_map(|other| &other.channels));
        if watched.into_iter().any(|channel| !self.open.contains(channel)) {
            self.open(now, todo);
        }
    }

    /// Opens the stream and calls the roll: what tabs watch that are no more is left out the next time.
    fn open(&mut self, now: f64, todo: &mut Vec<Command>) {
        self.call_roll(now);
        self.open.clone_from(&self.mine);
        for channel in self.others.iter().flat_map(|other| &other.channels) {
            if !self.open.contains(channel) {
                self.open.push(channel.clone());
            }
        }
        // The new stream begins with all counts; those of the old one may be of long ago.
        self.told.clear();
        self.watchdog.opened(now);
        todo.extend([Command::Open(self.open.clone()), self.say_what_it_watches("lead")]);
    }

    fn call_roll(&mut self, now: f64) {
        self.others.retain(|other| other.called.is_none_or(|called| now - called < ROLL_CALL));
        for other in &mut self.others {
            other.called.get_or_insert(now);
        }
    }

    /// Opens the stream again: here, or in this tab in place of the leader. All tabs come to that in the same moment, so
    /// those that don't lead wait for a random one first, unless they have.
    fn reopen(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        if self.role == Role::Leading {
            self.open(now, todo);
            self.watchdog.reopened(now);
        } else if !self.watchdog.is_broken() {
            self.watchdog.broke(now, random);
        } else {
            self.watchdog.reopened(now);
            todo.push(Command::Lead { steal: true });
        }
    }

    fn check(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        match self.watchdog.check(now, self.hidden) {
            Verdict::Fine => {}
            Verdict::Ask => {
                todo.push(Command::Ask);
                self.call_leader(now, random, todo);
            }
            Verdict::Count => {
                todo.push(Command::Count(self.mine.clone()));
                self.call_leader(now, random, todo);
            }
            Verdict::Reopen => self.reopen(now, random, todo),
        }
    }

    /// What another tab says.
    fn listen(&mut self, text: &str, now: f64, random: f64, todo: &mut Vec<Command>) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let leads = self.role == Role::Leading;
        match word {
            "want" => {
                if let Some(channels) = self.note(rest)
                    && leads
                {
                    self.answer(&channels, now, todo);
                }
            }
            "bye" => self.others.retain(|other| other.name != rest),
            "ask" if leads => todo.push(Command::Broadcast(self.hail().to_owned())),
            // Of two that lead, one is about to hear that it does no more: see `step_down`.
            _ if leads => {}
            "lead" => {
                self.call_roll(now);
                let _ = self.note(rest);
                self.watchdog.opened(now);
                todo.push(self.say_what_it_watches("want"));
            }
            "here" => self.watchdog.found(),
            "broke" => self.watchdog.broke(now, random),
            "tick" => self.live(now, todo),
            "news" => self.on_message(rest, now, todo),
            _ => {}
        }
    }

    /// Notes what another tab watches, its name and its channels, and returns those.
    fn note(&mut self, text: &str) -> Option<Vec<String>> {
        let (name, channels) = text.split_once(' ')?;
        let channels: Vec<_> =
            channels.split(',').filter(|name| is_channel(name)).map(str::to_owned).collect();
        self.others.retain(|other| other.name != name);
        self.others.push(Other { name: name.to_owned(), channels: channels.clone(), called: None });
        Some(channels)
    }

    /// What the leader says to whoever asks for it.
    const fn hail(&self) -> &'static str {
        if self.watchdog.is_broken() { "broke" } else { "here" }
    }

    /// The leader answers the tab that has just said what it watches.
    fn answer(&mut self, asked: &[String], now: f64, todo: &mut Vec<Command>) {
        self.open_if_lacking(now, todo);
        todo.push(Command::Broadcast(self.hail().to_owned()));
        if self.watchdog.state(now) != CountState::Live {
            return;
        }
        for (channel, text) in &self.told {
            if asked.contains(channel) {
                todo.push(Command::Broadcast(["news", text].join(" ")));
            }
        }
    }

    /// A count came in on the stream, wherever that is. The leader passes it on.
    fn on_message(&mut self, text: &str, now: f64, todo: &mut Vec<Command>) {
        let Some(news) = CountMessage::read(text) else { return };
        if self.role == Role::Leading {
            todo.push(Command::Broadcast(["news", text].join(" ")));
        }
        self.told.retain(|(channel, _)| *channel != news.channel);
        self.told.push((news.channel.clone(), text.to_owned()));
        if self.mine.contains(&news.channel) {
            todo.push(Command::Show(news));
        }
        self.live(now, todo);
    }

    /// Something came in on the stream.
    fn live(&mut self, now: f64, todo: &mut Vec<Command>) {
        self.watchdog.heard(now);
        todo.push(Command::Wake);
    }

    /// The server has answered with counts. They are shown where the stream doesn't tell them; beside it, an answer may be
    /// the older of two.
    fn learn(&mut self, text: &str, now: f64, random: f64, todo: &mut Vec<Command>) {
        let told: Vec<_> = text.split(',').filter_map(CountMessage::read).collect();
        let is_all = self.mine.iter().all(|channel| told.iter().any(|news| news.channel == *channel));
        if !self.watchdog.is_heard(now) {
            let mine = told.into_iter().filter(|news| self.mine.contains(&news.channel));
            todo.extend(mine.map(Command::Show));
        }
        if is_all {
            self.watchdog.told(now, random);
        } else {
            self.watchdog.answered(now, true);
        }
    }
}

/// Whether a name is one of a channel. One that isn't would have the whole stream refused.
fn is_channel(name: &str) -> bool {
    ChannelId::parse(name).is_ok_and(|channel| channel.as_str() == name)
}

#[cfg(test)]
mod tests;
