//! Shares one event stream among all tabs of a browser: a state machine without browser APIs.
//!
//! Over HTTP/1.1 a browser opens at most six connections to one server. Six tabs with a stream each would use all of
//! them, and a seventh tab could neither load nor send beats. Therefore one tab, the leader, opens a stream for the
//! channels of all tabs and broadcasts the messages of the stream. A browser lock elects the leader. The browser passes
//! the lock on when its holder closes or crashes. Promises:
//!
//! - Every tab knows the channels of the other tabs, so a new leader opens the complete stream at once.
//! - A leader that doesn't answer, or is silent for a minute, counts as frozen. Another tab takes its lock.
//!   A follower asks the leader when the follower becomes visible, and when it is visible and has received nothing for
//!   a while.
//! - When the stream breaks or dies, every tab waits for a random time. The first tab whose wait ends reopens the
//!   stream. The leader may be late, because browsers throttle the timers of hidden tabs.
//! - Counts don't turn stale while the stream moves to another tab or is reopened for more channels.
//! - Where tabs can't share a stream, each tab leads itself.
//! - A hidden tab takes no part (it rests), unless it needs events while hidden and tabs can share.
//! - When a tab comes back from the back/forward cache, a freeze or a rest, its counts are stale until a new count
//!   arrives.
//! - Messages that can't be parsed, from the server or from another tab, are ignored.

use super::watchdog::{Verdict, Watchdog};
use crate::domain::{ChannelId, Count, Timestamp, count::CountState};

/// The time to answer a roll call, in milliseconds. A tab that has not answered by then has crashed.
const ROLL_CALL_TIMEOUT: f64 = 10_000.0;

/// The count of a channel, as sent by the server and between tabs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountMessage {
    /// The name of the channel.
    pub channel: String,
    /// The count.
    pub count: Count,
    /// Whether the channel is on air, if that is known.
    pub live: Option<bool>,
}

impl CountMessage {
    /// Formats the message, such as `ana 5 live 1790000000123 on`: channel, count (`-` if unknown), `live` or `stale`,
    /// time in milliseconds, and `on` or `off` air if that is known.
    #[must_use]
    pub fn write(&self) -> String {
        let value = self.count.value().map_or_else(|| "-".to_owned(), |value| value.to_string());
        let state = if self.count.is_stale() { "stale" } else { "live" };
        let mut words = vec![&*self.channel, &value, state];
        let as_of = self.count.as_of().as_millis().to_string();
        words.push(&as_of);
        words.extend(self.live.map(|live| if live { "on" } else { "off" }));
        words.join(" ")
    }

    /// Parses the format of [`CountMessage::write`]. Returns `None` for any other text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (channel, value, state, as_of) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_number = |text: &str, max_digits| {
            (1..=max_digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let live = words.next();
        let is_valid = !channel.is_empty()
            && (value == "-" || is_number(value, 9))
            && (state == "live" || state == "stale")
            && is_number(as_of, 15)
            && matches!(live, None | Some("on" | "off"))
            && words.next().is_none();
        if !is_valid {
            return None;
        }
        let as_of = Timestamp::from_millis(as_of.parse().ok()?);
        let count = value.parse().map_or(Count::unknown(as_of), |value| Count::fresh(value, as_of));
        Some(Self {
            channel: channel.to_owned(),
            count: count.stale_if(state == "stale"),
            live: live.map(|live| live == "on"),
        })
    }
}

/// An event in a tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The tab has opened or come back, or its channels have changed.
    Watching {
        /// All channels that the tab watches.
        channels: Vec<String>,
        /// Whether tabs can share a stream.
        shares: bool,
        /// Whether the tab is hidden.
        hidden: bool,
        /// Whether the tab needs events while hidden too: a viewer page uses them to send due beats.
        needed: bool,
    },
    /// The tab is closing or being frozen.
    Closed,
    /// The tab got the lock: it is the leader from now on.
    Granted,
    /// Another tab took the lock, or the browser refuses locks.
    Taken,
    /// Another tab broadcast this text.
    Said(String),
    /// A count arrived on the stream of this tab.
    Count(String),
    /// A tick arrived on the stream of this tab.
    Tick,
    /// The stream of this tab broke.
    Broken,
    /// A ping ended with or without an answer, or a request for counts failed.
    Answered(bool),
    /// The server answered a beat or a request for counts with these counts: [`CountMessage`]s separated by commas.
    Told(String),
    /// The visibility of the tab changed.
    Seen {
        /// Whether the tab is hidden.
        hidden: bool,
    },
    /// The browser is online again.
    Online,
    /// The browser is offline.
    Offline,
    /// A timer fired.
    Woken,
}

/// An action that the tab has to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open a stream for these channels, and close the previous stream.
    Open(Vec<String>),
    /// Close the stream.
    Close,
    /// Request the lock.
    Lead {
        /// Whether to take the lock from its holder, a leader that doesn't answer.
        steal: bool,
    },
    /// Release the lock, or cancel the request for it.
    Resign,
    /// Send this text to the other tabs.
    Broadcast(String),
    /// Ping the server.
    Ask,
    /// Request the counts of these channels from the server.
    Count(Vec<String>),
    /// Show this count.
    Show(CountMessage),
    /// An event arrived: send a beat if one is due.
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The tab takes no part.
    Out,
    /// The tab takes no part until it is visible.
    Resting,
    /// The tab gets its counts from the leader.
    Following,
    /// The tab has the stream.
    Leading,
}

/// Another tab.
#[derive(Debug)]
struct OtherTab {
    id: String,
    channels: Vec<String>,
    /// The time of the first roll call that the tab has not answered.
    called_at: Option<f64>,
}

/// One of the tabs of a browser that share a stream.
#[derive(Debug)]
pub struct TabSync {
    tab_id: String,
    role: Role,
    shares: bool,
    hidden: bool,
    needed: bool,
    /// Whether the tab took part earlier: the counts that it shows are from then.
    was_away: bool,
    /// The channels of this tab.
    channels: Vec<String>,
    others: Vec<OtherTab>,
    /// The channels of the open stream.
    open_channels: Vec<String>,
    /// The latest message of the current stream for each channel.
    latest: Vec<(String, String)>,
    watchdog: Watchdog,
}

impl TabSync {
    /// A tab without channels. `tab_id` must be unique among the tabs.
    #[must_use]
    pub fn new(tab_id: String) -> Self {
        Self {
            tab_id,
            role: Role::Out,
            shares: false,
            hidden: false,
            needed: false,
            was_away: false,
            channels: Vec::new(),
            others: Vec::new(),
            open_channels: Vec::new(),
            latest: Vec::new(),
            watchdog: Watchdog::default(),
        }
    }

    /// The state of the counts shown. A tab that takes no part is never live.
    #[must_use]
    pub fn state(&self, now: f64) -> CountState {
        match self.watchdog.state(now) {
            CountState::Live if !self.takes_part() => CountState::Stale,
            state => state,
        }
    }

    /// The latest count of a channel on this tab's stream, for a new subscription. `None` in a follower, which asks the
    /// leader instead.
    #[must_use]
    pub fn latest(&self, channel: &str) -> Option<CountMessage> {
        let latest = self.latest.iter().find(|(name, _)| self.role == Role::Leading && name == channel);
        CountMessage::read(&latest?.1)
    }

    /// Milliseconds until the next [`Event::Woken`] is due; `None` if no timer is needed.
    #[must_use]
    pub fn wait(&self, now: f64) -> Option<f64> {
        self.takes_part().then(|| self.watchdog.wait(now, self.hidden))
    }

    const fn takes_part(&self) -> bool {
        matches!(self.role, Role::Following | Role::Leading)
    }

    /// Handles an event at `now` and returns the commands to execute, in order. `random` is uniform from 0 to 1 and new
    /// for each call.
    pub fn on(&mut self, event: Event, now: f64, random: f64) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Watching { channels, shares, hidden, needed } => {
                self.channels = channels;
                self.channels.retain(|name| is_channel(name));
                self.shares = shares;
                self.hidden = hidden;
                self.needed = needed;
                self.on_watching(now, random, &mut commands);
            }
            Event::Seen { hidden } => {
                self.hidden = hidden;
                self.on_visibility(now, random, &mut commands);
            }
            Event::Closed => {
                if self.takes_part() {
                    self.leave(&mut commands);
                }
                self.role = Role::Out;
            }
            _ if !self.takes_part() => {}
            Event::Granted => {
                self.role = Role::Leading;
                self.open(now, &mut commands);
            }
            Event::Taken => self.step_down(now, random, &mut commands),
            Event::Said(text) => self.on_tab_message(&text, now, random, &mut commands),
            Event::Count(text) => self.on_message(&text, now, &mut commands),
            Event::Tick => {
                commands.push(Command::Broadcast("tick".to_owned()));
                self.on_stream_event(now, &mut commands);
            }
            Event::Broken => {
                self.watchdog.on_broken(now, random);
                commands.extend([Command::Close, Command::Broadcast("broke".to_owned())]);
            }
            Event::Answered(answered) => self.watchdog.on_answer(now, answered),
            Event::Told(text) => self.on_counts(&text, now, random, &mut commands),
            Event::Online => {
                if self.state(now) != CountState::Live {
                    self.reopen(now, random, &mut commands);
                }
            }
            Event::Offline => self.watchdog.on_offline(now),
            Event::Woken => self.check(now, random, &mut commands),
        }
        commands
    }

    /// Applies the channels and options of this tab: opens the stream, asks the leader for one, rests or leaves.
    fn on_watching(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        if self.channels.is_empty() {
            if self.takes_part() {
                self.leave(commands);
            }
            self.role = Role::Out;
            self.was_away = false;
            return;
        }
        let joins = !self.takes_part();
        if joins {
            self.watchdog.start(now, self.was_away);
        }
        if self.hidden && !(self.needed && self.shares) {
            self.rest(commands);
            return;
        }
        if !self.shares {
            self.role = Role::Leading;
            self.open_if_incomplete(now, commands);
        } else if self.role == Role::Leading {
            self.open_if_incomplete(now, commands);
        } else {
            commands.push(self.announcement("want"));
            self.watchdog.on_leader_asked(now, random);
            if joins {
                self.role = Role::Following;
                commands.push(Command::Lead { steal: false });
            }
        }
    }

    fn on_visibility(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        match self.role {
            Role::Out => {}
            Role::Resting => {
                if !self.hidden {
                    self.on_watching(now, random, commands);
                }
            }
            Role::Following | Role::Leading if self.hidden && !(self.needed && self.shares) => {
                self.rest(commands);
            }
            Role::Following | Role::Leading => {
                if !self.hidden {
                    self.ask_leader(now, random, commands);
                }
                self.check(now, random, commands);
            }
        }
    }

    fn rest(&mut self, commands: &mut Vec<Command>) {
        if self.takes_part() {
            self.leave(commands);
        }
        self.role = Role::Resting;
        self.was_away = true;
    }

    /// Asks the leader for a sign of life: it may be frozen.
    fn ask_leader(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        if self.role == Role::Following {
            self.watchdog.on_leader_asked(now, random);
            commands.push(Command::Broadcast("ask".to_owned()));
        }
    }

    fn announcement(&self, word: &str) -> Command {
        Command::Broadcast([word, &self.tab_id, &self.channels.join(",")].join(" "))
    }

    fn leave(&mut self, commands: &mut Vec<Command>) {
        self.was_away = true;
        self.open_channels.clear();
        self.others.clear();
        commands.extend([
            Command::Broadcast(["bye", &self.tab_id].join(" ")),
            Command::Close,
            Command::Resign,
        ]);
    }

    /// Another tab has the lock now. A follower gets this only where the browser refuses locks; it then leads itself.
    fn step_down(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        if self.role == Role::Leading {
            self.role = Role::Following;
            self.open_channels.clear();
            self.watchdog.on_opened(now);
            commands.extend([Command::Close, Command::Lead { steal: false }, self.announcement("want")]);
        } else {
            self.shares = false;
            self.on_watching(now, random, commands);
        }
    }

    fn open_if_incomplete(&mut self, now: f64, commands: &mut Vec<Command>) {
        let watched = self.channels.iter().chain(self.others.iter().flat_map(|other| &other.channels));
        if watched.into_iter().any(|channel| !self.open_channels.contains(channel)) {
            self.open(now, commands);
        }
    }

    /// Opens the stream and starts a roll call. The next stream leaves out the channels of tabs that don't answer.
    fn open(&mut self, now: f64, commands: &mut Vec<Command>) {
        self.call_roll(now);
        self.open_channels.clone_from(&self.channels);
        for channel in self.others.iter().flat_map(|other| &other.channels) {
            if !self.open_channels.contains(channel) {
                self.open_channels.push(channel.clone());
            }
        }
        // The new stream starts with the counts of all channels. The old counts may be outdated.
        self.latest.clear();
        self.watchdog.on_opened(now);
        commands.extend([Command::Open(self.open_channels.clone()), self.announcement("lead")]);
    }

    fn call_roll(&mut self, now: f64) {
        self.others
            .retain(|other| other.called_at.is_none_or(|called_at| now - called_at < ROLL_CALL_TIMEOUT));
        for other in &mut self.others {
            other.called_at.get_or_insert(now);
        }
    }

    /// Reopens the stream. A follower takes the lead to do so. All tabs get here at the same moment, so a follower
    /// first waits for a random time, unless it has already waited.
    fn reopen(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        if self.role == Role::Leading {
            self.open(now, commands);
            self.watchdog.on_reopened(now);
        } else if !self.watchdog.is_broken() {
            self.watchdog.on_broken(now, random);
        } else {
            self.watchdog.on_reopened(now);
            commands.push(Command::Lead { steal: true });
        }
    }

    fn check(&mut self, now: f64, random: f64, commands: &mut Vec<Command>) {
        match self.watchdog.check(now, self.hidden) {
            Verdict::Fine => {}
            Verdict::Ask => {
                commands.push(Command::Ask);
                self.ask_leader(now, random, commands);
            }
            Verdict::Count => {
                commands.push(Command::Count(self.channels.clone()));
                self.ask_leader(now, random, commands);
            }
            Verdict::Reopen => self.reopen(now, random, commands),
        }
    }

    /// Handles a message from another tab.
    fn on_tab_message(&mut self, text: &str, now: f64, random: f64, commands: &mut Vec<Command>) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let leads = self.role == Role::Leading;
        match word {
            "want" => {
                if let Some(channels) = self.record_tab(rest)
                    && leads
                {
                    self.answer_tab(&channels, now, commands);
                }
            }
            "bye" => self.others.retain(|other| other.id != rest),
            "ask" if leads => commands.push(Command::Broadcast(self.leader_status().to_owned())),
            // Two tabs lead for a moment. One of them is about to lose the lock: see `step_down`.
            _ if leads => {}
            "lead" => {
                self.call_roll(now);
                let _ = self.record_tab(rest);
                self.watchdog.on_opened(now);
                commands.push(self.announcement("want"));
            }
            "here" => self.watchdog.on_leader_answered(),
            "broke" => self.watchdog.on_broken(now, random),
            "tick" => self.on_stream_event(now, commands),
            "news" => self.on_message(rest, now, commands),
            _ => {}
        }
    }

    /// Records another tab from its id and its channels, and returns the channels.
    fn record_tab(&mut self, text: &str) -> Option<Vec<String>> {
        let (id, channels) = text.split_once(' ')?;
        let channels: Vec<_> =
            channels.split(',').filter(|name| is_channel(name)).map(str::to_owned).collect();
        self.others.retain(|other| other.id != id);
        self.others.push(OtherTab { id: id.to_owned(), channels: channels.clone(), called_at: None });
        Some(channels)
    }

    /// The leader's answer to a tab that asks whether it is alive.
    const fn leader_status(&self) -> &'static str {
        if self.watchdog.is_broken() { "broke" } else { "here" }
    }

    /// Answers a tab that has announced its channels, as the leader.
    fn answer_tab(&mut self, channels: &[String], now: f64, commands: &mut Vec<Command>) {
        self.open_if_incomplete(now, commands);
        commands.push(Command::Broadcast(self.leader_status().to_owned()));
        if self.watchdog.state(now) != CountState::Live {
            return;
        }
        for (channel, text) in &self.latest {
            if channels.contains(channel) {
                commands.push(Command::Broadcast(["news", text].join(" ")));
            }
        }
    }

    /// Handles a count from the stream or from the leader. The leader broadcasts it.
    fn on_message(&mut self, text: &str, now: f64, commands: &mut Vec<Command>) {
        let Some(message) = CountMessage::read(text) else { return };
        if self.role == Role::Leading {
            commands.push(Command::Broadcast(["news", text].join(" ")));
        }
        self.latest.retain(|(channel, _)| *channel != message.channel);
        self.latest.push((message.channel.clone(), text.to_owned()));
        if self.channels.contains(&message.channel) {
            commands.push(Command::Show(message));
        }
        self.on_stream_event(now, commands);
    }

    /// Handles any event of the stream, ticks included.
    fn on_stream_event(&mut self, now: f64, commands: &mut Vec<Command>) {
        self.watchdog.on_event(now);
        commands.push(Command::Wake);
    }

    /// Handles counts from an answer of the server. They are shown only while the stream delivers none, because an
    /// answer may be older than the stream.
    fn on_counts(&mut self, text: &str, now: f64, random: f64, commands: &mut Vec<Command>) {
        let counts: Vec<_> = text.split(',').filter_map(CountMessage::read).collect();
        let has_all =
            self.channels.iter().all(|channel| counts.iter().any(|message| message.channel == *channel));
        if !self.watchdog.is_stream_fresh(now) {
            let shown = counts.into_iter().filter(|message| self.channels.contains(&message.channel));
            commands.extend(shown.map(Command::Show));
        }
        if has_all {
            self.watchdog.on_counts(now, random);
        } else {
            self.watchdog.on_answer(now, true);
        }
    }
}

/// Whether a name is a valid channel name. One invalid name would make the server refuse the whole stream.
fn is_channel(name: &str) -> bool {
    ChannelId::parse(name).is_ok_and(|channel| channel.as_str() == name)
}

#[cfg(test)]
mod tests;
