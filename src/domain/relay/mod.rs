//! One event stream for all tabs of a browser, as a state machine without a browser.
//!
//! Over HTTP/1.1 a browser opens six connections to a server and no more: six tabs with a stream each, and the seventh
//! neither loads nor beats. So one tab, the leader, has the stream for whatever any tab watches, and tells the others
//! what comes in. Who leads is decided by a lock, which the browser passes on by itself when its holder closes or crashes.
//! Promises:
//!
//! - Every tab knows what the others watch, so that a new leader opens the right stream at once.
//! - A leader that says nothing when asked, or for a minute, is taken for frozen; its lock is taken from it.
//! - When the stream breaks or dies, every tab waits for a random moment, and whoever's comes first opens it. (The
//!   leader's own may come late: browsers hold the timers of hidden tabs back.)
//! - What is shown doesn't turn stale while the stream passes from tab to tab, or is reopened for more channels.
//! - Where tabs can't share, each leads itself.

use super::{
    Count, Timestamp,
    watchdog::{Verdict, Watchdog},
};

/// A tab that has not answered the roll call for this long, in milliseconds, is gone: it has crashed.
const ROLL_CALL: f64 = 10_000.0;

/// A count that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whose.
    pub channel: String,
    /// The count.
    pub count: Count,
}

impl News {
    /// Writes "ana 5 live 1790000000123"; an unknown count is "-", an old one is "stale".
    #[must_use]
    pub fn write(&self) -> String {
        let Count { value, stale, as_of } = self.count;
        let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let state = if stale { "stale" } else { "live" };
        [&*self.channel, &value, state, &as_of.as_millis().to_string()].join(" ")
    }

    /// Reads what [`News::write`] has written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            channel: words.next()?.to_owned(),
            count: Count {
                value: words.next()?.parse().ok(),
                stale: words.next()? == "stale",
                as_of: Timestamp::from_millis(words.next()?.parse().ok()?),
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
    /// The server was asked whether it is there, and has answered or not.
    Answered(bool),
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
    Say(String),
    /// Ask the server whether it is there.
    Ask,
    /// Show this count.
    Show(News),
    /// Something came in: an occasion to beat.
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It takes no part.
    Out,
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
pub struct Relay {
    /// This tab's name among tabs.
    me: String,
    role: Role,
    shares: bool,
    hidden: bool,
    mine: Vec<String>,
    others: Vec<Other>,
    /// What the stream was opened for.
    open: Vec<String>,
    /// What came in last on this stream, by channel.
    told: Vec<(String, String)>,
    watchdog: Watchdog,
}

impl Relay {
    /// A tab that watches nothing yet. `me`: a name that no other tab has.
    #[must_use]
    pub fn new(me: String) -> Self {
        Self {
            me,
            role: Role::Out,
            shares: false,
            hidden: false,
            mine: Vec::new(),
            others: Vec::new(),
            open: Vec::new(),
            told: Vec::new(),
            watchdog: Watchdog::default(),
        }
    }

    /// Whether what is shown may be old.
    #[must_use]
    pub fn is_stale(&self, now: f64) -> bool {
        self.watchdog.is_stale(now)
    }

    /// In how many milliseconds to wake it; `None` if there is nothing to wake it for.
    #[must_use]
    pub fn wait(&self, now: f64) -> Option<f64> {
        (self.role != Role::Out).then(|| self.watchdog.wait(now, self.hidden))
    }

    /// Takes in what has happened at `now` and says what to do, in this order. `random`: evenly from 0 to 1, fresh at
    /// each call.
    pub fn on(&mut self, event: Event, now: f64, random: f64) -> Vec<Command> {
        let mut todo = Vec::new();
        match event {
            Event::Watching { channels, shares, hidden } => {
                self.mine = channels;
                self.shares = shares;
                self.hidden = hidden;
                self.watch(now, &mut todo);
            }
            _ if self.role == Role::Out => {}
            Event::Closed => self.leave(&mut todo),
            Event::Granted => {
                self.role = Role::Leading;
                self.open(now, &mut todo);
            }
            Event::Taken => self.step_down(now, &mut todo),
            Event::Said(text) => self.listen(&text, now, random, &mut todo),
            Event::Count(text) => {
                todo.push(Command::Say(["news", &text].join(" ")));
                self.hear(&text, now, &mut todo);
            }
            Event::Tick => {
                todo.push(Command::Say("tick".to_owned()));
                self.hear("", now, &mut todo);
            }
            Event::Broken => {
                self.watchdog.broke(now, random);
                todo.extend([Command::Close, Command::Say("broke".to_owned())]);
            }
            Event::Answered(answered) => self.watchdog.answered(now, answered),
            Event::Seen { hidden } => {
                self.hidden = hidden;
                self.check(now, random, &mut todo);
            }
            Event::Online => {
                if self.watchdog.is_stale(now) {
                    self.reopen(now, random, &mut todo);
                }
            }
            Event::Offline => self.watchdog.cut_off(now),
            Event::Woken => self.check(now, random, &mut todo),
        }
        todo
    }

    /// Sees to it that there is a stream, here or with the leader, for what this tab watches.
    fn watch(&mut self, now: f64, todo: &mut Vec<Command>) {
        if self.mine.is_empty() {
            if self.role != Role::Out {
                self.leave(todo);
            }
        } else if !self.shares {
            self.role = Role::Leading;
            self.open_if_lacking(now, todo);
        } else if self.role == Role::Leading {
            self.open_if_lacking(now, todo);
        } else {
            todo.push(self.say_what_it_watches("want"));
            self.watchdog.asked(now);
            if self.role == Role::Out {
                self.role = Role::Following;
                todo.push(Command::Lead { steal: false });
            }
        }
    }

    fn say_what_it_watches(&self, word: &str) -> Command {
        Command::Say([word, &self.me, &self.mine.join(",")].join(" "))
    }

    fn leave(&mut self, todo: &mut Vec<Command>) {
        self.role = Role::Out;
        self.open.clear();
        self.others.clear();
        todo.extend([Command::Say(["bye", &self.me].join(" ")), Command::Close, Command::Resign]);
    }

    /// The lock is with another tab. A tab that never had it can't: this browser has locks and refuses them.
    fn step_down(&mut self, now: f64, todo: &mut Vec<Command>) {
        if self.role == Role::Leading {
            self.role = Role::Following;
            self.open.clear();
            self.watchdog.opened(now);
            todo.extend([Command::Close, Command::Lead { steal: false }, self.say_what_it_watches("want")]);
        } else {
            self.shares = false;
            self.watch(now, todo);
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
        } else if !self.watchdog.is_broken() {
            self.watchdog.broke(now, random);
        } else {
            self.watchdog.opened(now);
            todo.push(Command::Lead { steal: true });
        }
    }

    fn check(&mut self, now: f64, random: f64, todo: &mut Vec<Command>) {
        match self.watchdog.check(now, self.hidden) {
            Verdict::Fine => {}
            Verdict::Ask => todo.push(Command::Ask),
            Verdict::Reopen => self.reopen(now, random, todo),
        }
    }

    /// What another tab says.
    fn listen(&mut self, text: &str, now: f64, random: f64, todo: &mut Vec<Command>) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let leads = self.role == Role::Leading;
        match word {
            "want" => {
                self.note(rest);
                if leads {
                    self.answer(now, todo);
                }
            }
            "bye" => self.others.retain(|other| other.name != rest),
            // Of two that lead, one is about to hear that it does no more: see `step_down`.
            _ if leads => {}
            "lead" => {
                self.call_roll(now);
                self.note(rest);
                self.watchdog.opened(now);
                todo.push(self.say_what_it_watches("want"));
            }
            "here" => self.watchdog.opened(now),
            "broke" => self.watchdog.broke(now, random),
            "tick" => self.hear("", now, todo),
            "news" => self.hear(rest, now, todo),
            _ => {}
        }
    }

    /// Notes what another tab watches: its name and its channels.
    fn note(&mut self, text: &str) {
        if let Some((name, channels)) = text.split_once(' ') {
            let channels = channels.split(',').map(str::to_owned).collect();
            self.others.retain(|other| other.name != name);
            self.others.push(Other { name: name.to_owned(), channels, called: None });
        }
    }

    /// The leader answers the tab that has just said what it watches.
    fn answer(&mut self, now: f64, todo: &mut Vec<Command>) {
        self.open_if_lacking(now, todo);
        let state = if self.watchdog.is_broken() { "broke" } else { "here" };
        todo.push(Command::Say(state.to_owned()));
        let asked = self.others.last().map_or(&[][..], |other| &other.channels);
        for (channel, text) in &self.told {
            if state == "here" && asked.contains(channel) {
                todo.push(Command::Say(["news", text].join(" ")));
            }
        }
    }

    /// Something came in on the stream, wherever that is; a text if it is a count.
    fn hear(&mut self, text: &str, now: f64, todo: &mut Vec<Command>) {
        self.watchdog.heard(now);
        if let Some(news) = News::read(text) {
            self.told.retain(|(channel, _)| *channel != news.channel);
            self.told.push((news.channel.clone(), text.to_owned()));
            if self.mine.contains(&news.channel) {
                todo.push(Command::Show(news));
            }
        }
        todo.push(Command::Wake);
    }
}

#[cfg(test)]
mod tests;
