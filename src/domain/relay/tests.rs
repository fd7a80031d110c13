use super::*;

/// Tabs of one browser, with what stands between them: the lock, and a channel on which each hears the others.
#[derive(Default)]
struct Browser {
    now: f64,
    tabs: Vec<Tab>,
    /// Who has the lock, and who waits for it, in order.
    lock: Option<usize>,
    queue: Vec<usize>,
    /// How often any tab has opened a stream.
    opened: usize,
}

struct Tab {
    relay: Relay,
    /// What its stream is for.
    stream: Vec<String>,
    shown: Vec<(String, u32)>,
    wakes: usize,
    asked: usize,
    /// Runs no more, but says nothing of it.
    frozen: bool,
}

impl Browser {
    /// Opens a tab that watches these channels.
    fn open(&mut self, channels: &[&str]) -> usize {
        let tab = self.tabs.len();
        self.tabs.push(Tab {
            relay: Relay::new(tab.to_string()),
            stream: Vec::new(),
            shown: Vec::new(),
            wakes: 0,
            asked: 0,
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
        self.on(tab, Event::Watching { channels, shares: true, hidden: false });
    }

    fn on(&mut self, tab: usize, event: Event) {
        if self.tabs[tab].frozen {
            return;
        }
        for command in self.tabs[tab].relay.on(event, self.now, 0.5) {
            let state = &mut self.tabs[tab];
            match command {
                Command::Open(channels) => {
                    state.stream = channels;
                    self.opened += 1;
                }
                Command::Close => state.stream.clear(),
                Command::Show(News { channel, count }) => {
                    state.shown.push((channel, count.value.unwrap_or_default()));
                }
                Command::Wake => state.wakes += 1,
                Command::Ask => state.asked += 1,
                Command::Say(text) => {
                    for other in (0..self.tabs.len()).filter(|other| *other != tab) {
                        self.on(other, Event::Said(text.clone()));
                    }
                }
                Command::Lead { steal } => {
                    self.queue.retain(|waiting| *waiting != tab);
                    if steal {
                        self.queue.insert(0, tab);
                        if let Some(robbed) = self.lock.take() {
                            self.grant();
                            self.on(robbed, Event::Taken);
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

    /// A tab dies without a word.
    fn crash(&mut self, tab: usize) {
        self.tabs[tab].frozen = true;
        self.tabs[tab].stream.clear();
        self.release(tab);
    }

    /// The server sends a count to all streams that are for its channel.
    fn news(&mut self, channel: &str, count: u32) {
        for tab in 0..self.tabs.len() {
            if self.tabs[tab].stream.iter().any(|open| open == channel) {
                self.on(tab, Event::Count(format!("{channel} {count} live 1")));
            }
        }
    }

    /// Time passes; timers fire. With `ticks`, the server sends one every 25 s.
    fn pass(&mut self, millis: f64, ticks: bool) {
        let end = self.now + millis;
        while self.now < end {
            self.now += 250.0;
            for tab in 0..self.tabs.len() {
                if self.tabs[tab].relay.wait(self.now) == Some(0.0) {
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

    fn is_stale(&self, tab: usize) -> bool {
        self.tabs[tab].relay.is_stale(self.now)
    }
}

#[test]
fn news_are_read_from_words() {
    let news = News::read("ana 5 live 12").unwrap();
    assert_eq!(
        (news.channel.as_str(), news.count),
        ("ana", Count { value: Some(5), stale: false, as_of: Timestamp::from_millis(12) })
    );
    assert_eq!(News::read("ana - stale 12").unwrap().count, Count::unknown(Timestamp::from_millis(12)));
    for text in ["", "ana", "ana 5 live", "ana 5 live x"] {
        assert_eq!(News::read(text), None, "{text:?}");
    }
}

#[test]
fn eight_tabs_have_one_stream_and_each_shows_its_channel() {
    let mut browser = Browser::default();
    let names: Vec<_> = (0..8).map(|tab| format!("c{tab}")).collect();
    for name in &names {
        browser.open(&[name]);
    }
    assert_eq!(browser.streams(), 1);
    for (tab, name) in names.iter().enumerate() {
        browser.news(name, 10 + u32::try_from(tab).unwrap());
    }
    for ((tab, name), count) in browser.tabs.iter().zip(names).zip(10..) {
        assert_eq!(tab.shown, [(name, count)]);
    }
    assert_eq!(browser.opened, 8, "once for each channel more");
}

#[test]
fn ticks_reach_every_tab_as_an_occasion_to_beat() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    let before = browser.tabs[1].wakes;
    browser.on(0, Event::Tick);
    assert_eq!(browser.tabs[1].wakes, before + 1);
}

#[test]
fn a_tab_that_comes_late_is_told_at_once_and_the_stream_stays() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.news("ana", 3);
    let late = browser.open(&["ana"]);
    assert_eq!(browser.shown(late), Some(3));
    assert_eq!(browser.opened, 1);
}

#[test]
fn another_channel_reopens_the_stream_and_nobody_is_stale() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.news("ana", 3);
    let late = browser.open(&["eva"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "eva"]);
    assert!(!browser.is_stale(0) && !browser.is_stale(late));
    browser.news("ana", 3);
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
        browser.news("leo", 7);
        assert_eq!(browser.shown(2), Some(7));
        assert!(!browser.is_stale(1) && !browser.is_stale(2));
        assert_eq!(browser.tabs[1].stream.contains(&"ana".to_owned()), crashes);
    }
}

#[test]
fn what_a_crashed_tab_has_watched_is_given_up() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva", "leo"]);
    browser.crash(2);
    browser.open(&["luz"]);
    browser.pass(11_000.0, true);
    browser.open(&["sol"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "eva", "luz", "sol"]);
}

#[test]
fn a_frozen_leader_is_replaced_after_a_minute_of_silence_and_gives_way_when_it_thaws() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.news("eva", 3);
    browser.pass(100_000.0, true);
    assert_eq!(browser.lock, Some(0), "with ticks it stays");
    browser.tabs[0].frozen = true;
    browser.pass(66_000.0, false);
    assert_eq!(browser.lock, Some(1));
    browser.news("eva", 4);
    assert_eq!(browser.shown(1), Some(4));
    assert!(!browser.is_stale(1));

    browser.tabs[0].frozen = false;
    browser.on(0, Event::Taken);
    assert_eq!((browser.streams(), browser.lock), (1, Some(1)));
    browser.on(1, Event::Closed);
    assert_eq!(browser.lock, Some(0), "and is next in line");
}

#[test]
fn a_new_tab_does_not_wait_for_a_frozen_leader() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.tabs[0].frozen = true;
    let late = browser.open(&["eva"]);
    browser.pass(5_500.0, false);
    browser.news("eva", 2);
    assert_eq!(browser.shown(late), Some(2));
    assert!(!browser.is_stale(late));
}

#[test]
fn a_stream_that_breaks_makes_every_tab_stale_and_is_opened_by_one() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva", "leo"]);
    browser.news("ana", 3);
    browser.on(0, Event::Broken);
    browser.pass(1_000.0, false);
    assert!((0..3).all(|tab| browser.is_stale(tab)));
    assert_eq!(browser.streams(), 0);
    browser.pass(9_000.0, false);
    assert_eq!(browser.streams(), 1);
    assert!((0..3).all(|tab| browser.is_stale(tab)), "until something comes in");
    browser.news("ana", 4);
    assert!((0..3).all(|tab| !browser.is_stale(tab)));
}

#[test]
fn a_hidden_leader_whose_timers_are_held_back_is_replaced_by_a_tab_in_sight() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.on(0, Event::Seen { hidden: true });
    browser.on(0, Event::Broken);
    // Only the tab in sight has timers.
    browser.now += 9_000.0;
    browser.on(1, Event::Woken);
    assert_eq!((browser.streams(), browser.lock), (1, Some(1)));
    assert_eq!(browser.tabs[1].stream, ["eva", "ana"]);
}

#[test]
fn where_tabs_cannot_share_each_has_its_own_stream() {
    let mut alone = Relay::new("a".to_owned());
    let watching = Event::Watching { channels: vec!["ana".to_owned()], shares: false, hidden: false };
    let todo = alone.on(watching, 0.0, 0.5);
    assert!(todo.contains(&Command::Open(vec!["ana".to_owned()])), "{todo:?}");
    assert!(!todo.iter().any(|command| matches!(command, Command::Lead { .. })));
}

#[test]
fn a_browser_that_refuses_its_locks_is_one_that_has_none() {
    let mut refused = Relay::new("a".to_owned());
    let watching = Event::Watching { channels: vec!["ana".to_owned()], shares: true, hidden: false };
    assert!(refused.on(watching, 0.0, 0.5).contains(&Command::Lead { steal: false }));
    let todo = refused.on(Event::Taken, 1.0, 0.5);
    assert!(todo.contains(&Command::Open(vec!["ana".to_owned()])), "{todo:?}");
}

#[test]
fn only_a_tab_in_sight_asks_the_server_whether_it_is_there() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.pass(100_000.0, true);
    let asked = browser.tabs[0].asked;
    assert!(asked > 0);
    browser.on(0, Event::Seen { hidden: true });
    browser.pass(100_000.0, true);
    assert_eq!(browser.tabs[0].asked, asked);
}

#[test]
fn a_network_that_is_gone_is_stale_at_once_and_one_that_is_back_reopens_at_once() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    browser.news("ana", 3);
    browser.on(0, Event::Offline);
    assert!(browser.is_stale(0));
    browser.on(0, Event::Online);
    assert_eq!(browser.opened, 2);
    browser.news("ana", 3);
    assert!(!browser.is_stale(0));
}

#[test]
fn when_the_network_is_back_for_all_tabs_the_leader_alone_reopens() {
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
    assert_eq!((browser.opened, browser.lock), (opened + 1, Some(0)), "nobody takes its place later");
}

#[test]
fn tabs_that_hear_nothing_for_a_minute_take_the_lock_at_random_moments() {
    for (random, pause) in [(0.0, 500.0), (1.0, 5_000.0)] {
        let mut tab = Relay::new("a".to_owned());
        let channels = vec!["ana".to_owned()];
        tab.on(Event::Watching { channels, shares: true, hidden: true }, 0.0, 0.5);
        tab.on(Event::Said("here".to_owned()), 0.0, 0.5);
        let steals = |todo: Vec<Command>| todo.contains(&Command::Lead { steal: true });
        assert!(!steals(tab.on(Event::Woken, 60_000.0, random)));
        assert!(tab.is_stale(60_000.0));
        assert_eq!(tab.wait(60_100.0), Some(pause - 100.0));
        assert!(steals(tab.on(Event::Woken, 60_000.0 + pause, random)));
    }
}

#[test]
fn a_late_tab_is_told_nothing_that_an_earlier_stream_has_said() {
    let mut browser = Browser::default();
    browser.open(&["ana"]);
    let gone = browser.open(&["eva"]);
    browser.news("eva", 3);
    browser.on(gone, Event::Closed);
    browser.open(&["leo"]);
    assert_eq!(browser.tabs[0].stream, ["ana", "leo"]);
    let late = browser.open(&["eva"]);
    assert_eq!(browser.shown(late), None, "its page has a newer count from the server");
    browser.news("eva", 9);
    assert_eq!(browser.shown(late), Some(9));
}

#[test]
fn a_page_without_badges_has_no_stream_and_no_timer() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.watch(tab, &[]);
    assert_eq!((browser.streams(), browser.lock), (0, None));
    assert_eq!(browser.tabs[tab].relay.wait(browser.now), None);
    browser.watch(tab, &["eva"]);
    assert_eq!(browser.tabs[tab].stream, ["eva"]);
}
