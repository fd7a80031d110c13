use super::*;

/// Simulates the tabs of one browser, with their lock and their broadcast channel.
#[derive(Default)]
struct Browser {
    now: f64,
    tabs: Vec<Tab>,
    /// The tab that holds the lock.
    lock: Option<usize>,
    /// The tabs that wait for the lock, in order.
    queue: Vec<usize>,
    /// How many streams the tabs have opened in total.
    opened: usize,
}

struct Tab {
    sync: TabSync,
    /// The channels of the open stream.
    stream: Vec<String>,
    shown: Vec<(String, u32)>,
    wakes: usize,
    pings: usize,
    /// How often the tab has requested counts.
    count_requests: usize,
    /// Whether the tab ignores all events.
    frozen: bool,
}

impl Browser {
    /// Opens a tab with these channels.
    fn open(&mut self, channels: &[&str]) -> usize {
        let tab = self.tabs.len();
        self.tabs.push(Tab {
            sync: TabSync::new(tab.to_string()),
            stream: Vec::new(),
            shown: Vec::new(),
            wakes: 0,
            pings: 0,
            count_requests: 0,
            frozen: false,
        });
        self.watch(tab, channels);
        tab
    }

    /// Opens a tab for each of these channels.
    fn open_each(&mut self, channels: &[&str]) {
        for channel in channels {
            self.open(&[channel]);
        }
    }

    fn watch(&mut self, tab: usize, channels: &[&str]) {
        let channels = channels.iter().map(ToString::to_string).collect();
        self.on(tab, Event::Watching { channels, shares: true, hidden: false, needed: true });
    }

    fn on(&mut self, tab: usize, event: Event) {
        if self.tabs[tab].frozen {
            return;
        }
        for command in self.tabs[tab].sync.on(event, self.now, 0.5) {
            let state = &mut self.tabs[tab];
            match command {
                Command::Open(channels) => {
                    state.stream = channels;
                    self.opened += 1;
                }
                Command::Close => state.stream.clear(),
                Command::Show(CountMessage { channel, count, .. }) => {
                    state.shown.push((channel, count.value().unwrap_or_default()));
                }
                Command::Wake => state.wakes += 1,
                Command::Ask => state.pings += 1,
                Command::Count(_) => state.count_requests += 1,
                Command::Broadcast(text) => {
                    for other in (0..self.tabs.len()).filter(|other| *other != tab) {
                        self.on(other, Event::Said(text.clone()));
                    }
                }
                Command::Lead { steal } => {
                    self.queue.retain(|waiting| *waiting != tab);
                    if steal {
                        self.queue.insert(0, tab);
                        if let Some(previous) = self.lock.take() {
                            self.grant();
                            self.on(previous, Event::Taken);
                        }
                    } else {
                        self.queue.push(tab);
                    }
                    self.grant();
                }
                Command::Resign => self.release(tab),
            }
        }
    }

    fn release(&mut self, tab: usize) {
        self.queue.retain(|waiting| *waiting != tab);
        if self.lock == Some(tab) {
            self.lock = None;
            self.grant();
        }
    }

    fn grant(&mut self) {
        if self.lock.is_none() && !self.queue.is_empty() {
            let next = self.queue.remove(0);
            self.lock = Some(next);
            self.on(next, Event::Granted);
        }
    }

    /// Ends a tab without `Event::Closed`.
    fn crash(&mut self, tab: usize) {
        self.tabs[tab].frozen = true;
        self.tabs[tab].stream.clear();
        self.release(tab);
    }

    /// The server sends a count on every stream with the channel.
    fn count(&mut self, channel: &str, count: u32) {
        for tab in 0..self.tabs.len() {
            if self.tabs[tab].stream.iter().any(|open| open == channel) {
                self.on(tab, Event::Count(format!("{channel} {count} live 1")));
            }
        }
    }

    /// Lets time pass and fires timers. With `ticks`, the server sends a tick every 25 s.
    fn pass(&mut self, millis: f64, ticks: bool) {
        let end = self.now + millis;
        while self.now < end {
            self.now += 250.0;
            for tab in 0..self.tabs.len() {
                if self.tabs[tab].sync.wait(self.now) == Some(0.0) {
                    self.on(tab, Event::Woken);
                }
                if ticks && self.now % 25_000.0 == 0.0 && !self.tabs[tab].stream.is_empty() {
                    self.on(tab, Event::Tick);
                }
            }
        }
    }

    fn streams(&self) -> usize {
        self.tabs.iter().filter(|tab| !tab.stream.is_empty()).count()
    }

    fn shown(&self, tab: usize) -> Option<u32> {
        self.tabs[tab].shown.last().map(|(_, count)| *count)
    }

    fn state(&self, tab: usize) -> CountState {
        self.tabs[tab].sync.state(self.now)
    }

    fn is_stale(&self, tab: usize) -> bool {
        self.state(tab) != CountState::Live
    }
}

#[test]
fn a_count_message_is_parsed() {
    let message = CountMessage::read("ana 5 live 12").unwrap();
    assert_eq!(
        (message.channel.as_str(), message.count),
        ("ana", Count::fresh(5, Timestamp::from_millis(12)))
    );
    for (text, live) in
        [("ana 5 live 12", None), ("ana 5 live 12 on", Some(true)), ("ana - stale 0 off", Some(false))]
    {
        let message = CountMessage::read(text).unwrap();
        assert_eq!(message.live, live);
        assert_eq!(message.write(), text);
    }
    assert_eq!(
        CountMessage::read("ana - stale 12").unwrap().count,
        Count::unknown(Timestamp::from_millis(12))
    );
    for text in [
        "",
        "ana",
        "ana 5 live",
        "ana 5 live x",
        "ana x live 1",
        "ana -5 live 1",
        "ana 1.5 live 1",
        "ana 5 new 1",
        "ana 5 live 1 more",
        "ana 5 live 1 ",
        "ana 5 live 1 on on",
        " 5 live 1",
    ] {
        assert_eq!(CountMessage::read(text), None, "{text:?}");
    }
}

#[test]
fn eight_tabs_share_one_stream_and_each_shows_its_channel() {
    let mut browser = Browser::default();
    let names: Vec<_> = (0..8).map(|tab| format!("c{tab}")).collect();
    for name in &names {
        browser.open(&[name]);
    }
    assert_eq!(browser.streams(), 1);
    for (tab, name) in names.iter().enumerate() {
        browser.count(name, 10 + u32::try_from(tab).unwrap());
    }
    for ((tab, name), count) in browser.tabs.iter().zip(names).zip(10..) {
        assert_eq!(tab.shown, [(name, count)]);
    }
    assert_eq!(browser.opened, 8, "once for each new channel");
}

#[test]
fn a_tick_wakes_every_tab() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    let before = browser.tabs[1].wakes;
    browser.on(0, Event::Tick);
    assert_eq!(browser.tabs[1].wakes, before + 1);
}

#[test]
fn a_late_tab_gets_the_count_at_once_without_a_new_stream() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.count("ana", 3);
    let late = browser.open(&["ana"]);
    assert_eq!(browser.shown(late), Some(3));
    assert_eq!(browser.opened, 1);
}

#[test]
fn another_channel_reopens_the_stream_and_no_tab_turns_stale() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.count("ana", 3);
    let late = browser.open(&["eva"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "eva"]);
    assert!(!browser.is_stale(0) && !browser.is_stale(late));
    browser.count("ana", 3);
    browser.watch(late, &["eva", "ana"]);
    assert_eq!(browser.opened, 2, "a channel that is open needs no new stream");
    assert_eq!(browser.shown(late), Some(3));
}

#[test]
fn when_the_leader_closes_or_crashes_the_next_opens_the_same_stream() {
    for crashes in [false, true] {
        let mut browser = Browser::default();
        browser.open_each(&["ana", "eva", "leo"]);
        if crashes {
            browser.crash(0);
        } else {
            browser.on(0, Event::Closed);
        }
        assert_eq!(browser.streams(), 1);
        browser.count("leo", 7);
        assert_eq!(browser.shown(2), Some(7));
        assert!(!browser.is_stale(1) && !browser.is_stale(2));
        assert_eq!(browser.tabs[1].stream.contains(&"ana".to_owned()), crashes);
    }
}

#[test]
fn the_channels_of_a_crashed_tab_are_dropped() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva", "leo"]);
    browser.crash(2);
    browser.open(&["luz"]);
    browser.pass(11_000.0, true);
    browser.open(&["sol"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "eva", "luz", "sol"]);
}

#[test]
fn a_frozen_leader_is_replaced_after_a_minute_of_silence_and_follows_when_it_resumes() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.count("eva", 3);
    browser.pass(100_000.0, true);
    assert_eq!(browser.lock, Some(0), "the leader stays while ticks arrive");
    browser.tabs[0].frozen = true;
    browser.pass(66_000.0, false);
    assert_eq!(browser.lock, Some(1));
    browser.count("eva", 4);
    assert_eq!(browser.shown(1), Some(4));
    assert!(!browser.is_stale(1));

    browser.tabs[0].frozen = false;
    browser.on(0, Event::Taken);
    assert_eq!((browser.streams(), browser.lock), (1, Some(1)));
    browser.on(1, Event::Closed);
    assert_eq!(browser.lock, Some(0), "the former leader is next in line");
}

#[test]
fn a_new_tab_does_not_wait_for_a_frozen_leader() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.tabs[0].frozen = true;
    let late = browser.open(&["eva"]);
    browser.pass(5_500.0, false);
    browser.count("eva", 2);
    assert_eq!(browser.shown(late), Some(2));
    assert!(!browser.is_stale(late));
}

#[test]
fn a_broken_stream_makes_every_tab_stale_and_one_tab_reopens_it() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva", "leo"]);
    browser.count("ana", 3);
    browser.on(0, Event::Broken);
    browser.pass(1_000.0, false);
    assert!((0..3).all(|tab| browser.is_stale(tab)));
    assert_eq!(browser.streams(), 0);
    browser.pass(9_000.0, false);
    assert_eq!(browser.streams(), 1);
    assert!((0..3).all(|tab| browser.is_stale(tab)), "until an event arrives");
    browser.count("ana", 4);
    assert!((0..3).all(|tab| !browser.is_stale(tab)));
}

#[test]
fn a_hidden_leader_with_throttled_timers_is_replaced_by_a_visible_tab() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.on(0, Event::Seen { hidden: true });
    browser.on(0, Event::Broken);
    // Only the timers of the visible tab fire.
    browser.now += 9_000.0;
    browser.on(1, Event::Woken);
    assert_eq!((browser.streams(), browser.lock), (1, Some(1)));
    assert_eq!(browser.tabs[1].stream, ["eva", "ana"]);
}

#[test]
fn tabs_that_cannot_share_have_their_own_streams() {
    let mut tab = TabSync::new("a".to_owned());
    let watching =
        Event::Watching { channels: vec!["ana".to_owned()], shares: false, hidden: false, needed: true };
    let commands = tab.on(watching, 0.0, 0.5);
    assert!(commands.contains(&Command::Open(vec!["ana".to_owned()])), "{commands:?}");
    assert!(!commands.iter().any(|command| matches!(command, Command::Lead { .. })));
}

#[test]
fn a_tab_leads_itself_if_the_browser_refuses_locks() {
    let mut tab = TabSync::new("a".to_owned());
    let watching =
        Event::Watching { channels: vec!["ana".to_owned()], shares: true, hidden: false, needed: true };
    assert!(tab.on(watching, 0.0, 0.5).contains(&Command::Lead { steal: false }));
    let commands = tab.on(Event::Taken, 1.0, 0.5);
    assert!(commands.contains(&Command::Open(vec!["ana".to_owned()])), "{commands:?}");
}

#[test]
fn only_a_visible_tab_pings_the_server() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.pass(100_000.0, true);
    let pings = browser.tabs[0].pings;
    assert!(pings > 0);
    browser.on(0, Event::Seen { hidden: true });
    browser.pass(100_000.0, true);
    assert_eq!(browser.tabs[0].pings, pings);
}

#[test]
fn going_offline_turns_stale_at_once_and_going_online_reopens_at_once() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.count("ana", 3);
    browser.on(0, Event::Offline);
    assert!(browser.is_stale(0));
    browser.on(0, Event::Online);
    assert_eq!(browser.opened, 2);
    browser.count("ana", 3);
    assert!(!browser.is_stale(0));
}

#[test]
fn only_the_leader_reopens_when_all_tabs_come_online() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva", "leo"]);
    let opened = browser.opened;
    for tab in 0..3 {
        browser.on(tab, Event::Offline);
    }
    for tab in [2, 1, 0] {
        browser.on(tab, Event::Online);
    }
    assert_eq!((browser.opened, browser.lock), (opened + 1, Some(0)));
    browser.pass(9_000.0, false);
    assert_eq!((browser.opened, browser.lock), (opened + 1, Some(0)), "no other tab takes the lock later");
}

#[test]
fn followers_take_the_lock_at_random_times_after_a_minute_of_silence() {
    for (random, pause) in [(0.0, 500.0), (1.0, 5_000.0)] {
        let mut tab = TabSync::new("a".to_owned());
        let channels = vec!["ana".to_owned()];
        tab.on(Event::Watching { channels, shares: true, hidden: true, needed: true }, 0.0, 0.5);
        tab.on(Event::Said("here".to_owned()), 0.0, 0.5);
        let steals_lock = |commands: Vec<Command>| commands.contains(&Command::Lead { steal: true });
        assert!(!steals_lock(tab.on(Event::Woken, 60_000.0, random)));
        assert_ne!(tab.state(60_000.0), CountState::Live);
        assert_eq!(tab.wait(60_100.0), Some(pause - 100.0));
        assert!(steals_lock(tab.on(Event::Woken, 60_000.0 + pause, random)));
    }
}

#[test]
fn a_late_tab_gets_no_count_of_an_earlier_stream() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    let gone = browser.open(&["eva"]);
    browser.count("eva", 3);
    browser.on(gone, Event::Closed);
    browser.open(&["leo"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "leo"]);
    let late = browser.open(&["eva"]);
    assert_eq!(browser.shown(late), None, "the page already has a newer count from the server");
    browser.count("eva", 9);
    assert_eq!(browser.shown(late), Some(9));
}

#[test]
fn a_page_without_channels_has_no_stream_and_no_timer() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.watch(tab, &[]);
    assert_eq!((browser.streams(), browser.lock), (0, None));
    assert_eq!(browser.tabs[tab].sync.wait(browser.now), None);
    browser.watch(tab, &["eva"]);
    assert_eq!(browser.tabs[tab].stream, ["eva"]);
}

#[test]
fn an_invalid_message_is_neither_a_count_nor_a_sign_of_life() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.count("ana", 3);
    browser.count("eva", 3);
    for _ in 0..4 {
        browser.pass(10_000.0, false);
        for tab in 0..2 {
            let wakes = browser.tabs[tab].wakes;
            browser.on(tab, Event::Count("<h1>Bad gateway</h1>".to_owned()));
            browser.on(tab, Event::Count(String::new()));
            browser.on(tab, Event::Said("news junk".to_owned()));
            browser.on(tab, Event::Said("junk".to_owned()));
            assert_eq!(browser.tabs[tab].wakes, wakes);
        }
    }
    assert!(browser.is_stale(0) && browser.is_stale(1), "after 30 s without a valid message");
    assert_eq!((browser.shown(0), browser.shown(1)), (Some(3), Some(3)));
}

#[test]
fn a_frozen_leader_is_replaced_within_ten_seconds_after_a_tab_becomes_visible() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.count("eva", 3);
    browser.on(1, Event::Seen { hidden: true });
    browser.pass(20_000.0, false);
    browser.tabs[0].frozen = true;
    browser.on(1, Event::Seen { hidden: false });
    browser.pass(6_500.0, false);
    browser.count("eva", 4);
    assert_eq!((browser.shown(1), browser.is_stale(1)), (Some(4), false));
}

#[test]
fn a_tab_that_stays_visible_notices_a_frozen_leader() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.count("eva", 3);
    browser.tabs[0].frozen = true;
    browser.pass(20_000.0, false);
    assert_eq!((browser.streams(), browser.lock), (2, Some(1)), "the frozen tab still has its stream");
}

#[test]
fn a_tab_that_becomes_visible_keeps_a_leader_that_answers() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    let opened = browser.opened;
    for hidden in [true, false, true, false] {
        browser.on(1, Event::Seen { hidden });
        browser.pass(10_000.0, true);
    }
    assert_eq!((browser.opened, browser.lock), (opened, Some(0)));
}

#[test]
fn a_page_that_comes_back_is_stale_until_a_count_arrives() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.count("ana", 3);
    assert!(!browser.is_stale(tab));
    browser.on(tab, Event::Closed);
    browser.now += 3_600_000.0;
    browser.watch(tab, &["ana"]);
    assert_eq!(browser.state(tab), CountState::Stale);
    browser.on(tab, Event::Answered(true));
    browser.pass(2_000.0, false);
    assert_eq!(browser.state(tab), CountState::Stale, "a ping answer contains no count");
    browser.count("ana", 4);
    assert_eq!(browser.state(tab), CountState::Live);
}

#[test]
fn refused_streams_make_the_count_stale_and_then_unknown() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.on(tab, Event::Broken);
    let mut states = vec![browser.state(tab)];
    for _ in 0..70 {
        browser.pass(1_000.0, false);
        if !browser.tabs[tab].stream.is_empty() {
            browser.on(tab, Event::Broken);
        }
        states.push(browser.state(tab));
    }
    let (stale, unknown) = (CountState::Stale, CountState::Unknown);
    assert_eq!(states[0], CountState::Live, "a short break isn't shown");
    assert!(states[1..60].iter().all(|state| *state == stale), "{states:?}");
    assert!(states[61..].iter().all(|state| *state == unknown), "{states:?}");
}

#[test]
fn without_a_stream_answers_to_beats_and_count_requests_update_the_count() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.on(tab, Event::Told("ana 7 live 0".to_owned()));
    assert_eq!(browser.shown(tab), None, "an answer may be older than the stream");
    browser.on(tab, Event::Broken);
    browser.on(tab, Event::Told("ana 8 live 0".to_owned()));
    assert_eq!((browser.shown(tab), browser.state(tab)), (Some(8), CountState::Live));
    for _ in 0..60 {
        browser.pass(1_000.0, false);
        if !browser.tabs[tab].stream.is_empty() {
            browser.on(tab, Event::Broken);
        }
        if browser.tabs[tab].count_requests > 0 {
            browser.tabs[tab].count_requests = 0;
            browser.on(tab, Event::Told("ana 9 live 0,eva 1 live 0".to_owned()));
        }
    }
    assert_eq!((browser.shown(tab), browser.state(tab)), (Some(9), CountState::Live));
    browser.pass(21_000.0, false);
    assert!(browser.is_stale(tab), "answers expire");
}

#[test]
fn an_answer_for_one_channel_does_not_make_the_others_live() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana", "eva"]);
    browser.on(tab, Event::Broken);
    browser.pass(2_000.0, false);
    browser.on(tab, Event::Told("ana 8 live 0".to_owned()));
    assert_eq!(browser.shown(tab), Some(8));
    assert!(browser.is_stale(tab));
    browser.on(tab, Event::Told("ana 8 live 0,eva - stale 0".to_owned()));
    assert!(!browser.is_stale(tab));
}

#[test]
fn a_reader_tab_rests_while_hidden_and_is_stale_until_a_count_arrives() {
    for shares in [true, false] {
        let mut tab = TabSync::new("a".to_owned());
        let watching =
            |hidden| Event::Watching { channels: vec!["ana".to_owned()], shares, hidden, needed: false };
        assert_eq!(tab.on(watching(true), 0.0, 0.5), [], "a hidden tab does not start");
        assert_eq!(tab.wait(0.0), None);
        assert_ne!(tab.on(Event::Seen { hidden: false }, 1_000.0, 0.5), []);
        if shares {
            assert_eq!(tab.state(1_000.0), CountState::Stale);
            tab.on(Event::Granted, 1_000.0, 0.5);
        }
        tab.on(Event::Count("ana 3 live 1".to_owned()), 1_100.0, 0.5);
        assert_eq!(tab.state(1_100.0), CountState::Live);
        let commands = tab.on(Event::Seen { hidden: true }, 2_000.0, 0.5);
        assert!(commands.contains(&Command::Close) && commands.contains(&Command::Resign), "{commands:?}");
        assert_eq!(tab.state(2_000.0), CountState::Stale);
        tab.on(Event::Closed, 3_000.0, 0.5);
        assert_eq!(tab.on(Event::Seen { hidden: false }, 3_100.0, 0.5), [], "a closed tab stays closed");
    }
}

#[test]
fn a_hidden_viewer_tab_rests_only_where_tabs_cannot_share() {
    for shares in [true, false] {
        let mut tab = TabSync::new("a".to_owned());
        let channels = vec!["ana".to_owned()];
        tab.on(Event::Watching { channels, shares, hidden: false, needed: true }, 0.0, 0.5);
        let commands = tab.on(Event::Seen { hidden: true }, 1_000.0, 0.5);
        assert_eq!(commands.contains(&Command::Close), !shares, "{commands:?}");
    }
}

#[test]
fn invalid_channel_names_are_left_out_of_the_stream() {
    let mut browser = Browser::default();
    browser.open(&["ana", "No name", ""]);
    browser.on(0, Event::Said("want x eva,../live,a&b,".to_owned()));
    browser.on(0, Event::Said("want".to_owned()));
    assert_eq!(browser.tabs[0].stream, ["ana", "eva"]);
}

#[test]
fn only_the_leader_knows_the_latest_counts_of_its_stream() {
    let mut browser = Browser::default();
    let leader = browser.open(&["ana"]);
    let follower = browser.open(&["eva"]);
    browser.on(leader, Event::Count("eva 5 live 1".to_owned()));
    let latest = |browser: &Browser, tab: usize, channel: &str| browser.tabs[tab].sync.latest(channel);
    assert_eq!(latest(&browser, leader, "eva").unwrap().count.value(), Some(5));
    assert_eq!(latest(&browser, leader, "ana"), None);
    // A follower asks the leader instead: its own counts may be outdated.
    assert_eq!(latest(&browser, follower, "eva"), None);
    browser.watch(leader, &[]);
    assert_eq!(latest(&browser, leader, "eva"), None);
}
