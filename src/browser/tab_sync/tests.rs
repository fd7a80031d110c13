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
    relay: TabSync,
    /// What its stream is for.
    stream: Vec<String>,
    shown: Vec<(String, u32)>,
    wakes: usize,
    asked: usize,
    /// How often it has asked for counts.
    counted: usize,
    /// Runs no more, but says nothing of it.
    frozen: bool,
}

impl Browser {
    /// Opens a tab that watches these channels.
    fn open(&mut self, channels: &[&str]) -> usize {
        let tab = self.tabs.len();
        self.tabs.push(Tab {
            relay: TabSync::new(tab.to_string()),
            stream: Vec::new(),
            shown: Vec::new(),
            wakes: 0,
            asked: 0,
            counted: 0,
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
        for command in self.tabs[tab].relay.on(event, self.now, 0.5) {
            let state = &mut self.tabs[tab];
            match command {
                Command::Open(channels) => {
                    state.stream = channels;
                    self.opened += 1;
                }
                Command::Close => state.stream.clear(),
                Command::Show(CountMessage { channel, count }) => {
                    state.shown.push((channel, count.value.unwrap_or_default()));
                }
                Command::Wake => state.wakes += 1,
                Command::Ask => state.asked += 1,
                Command::Count(_) => state.counted += 1,
                Command::Broadcast(text) => {
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

    fn state(&self, tab: usize) -> CountState {
        self.tabs[tab].relay.state(self.now)
    }

    fn is_stale(&self, tab: usize) -> bool {
        self.state(tab) != CountState::Live
    }
}

#[test]
fn news_are_read_from_words() {
    let news = CountMessage::read("ana 5 live 12").unwrap();
    assert_eq!(
        (news.channel.as_str(), news.count),
        ("ana", Count { value: Some(5), stale: false, as_of: Timestamp::from_millis(12) })
    );
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
        " 5 live 1",
    ] {
        assert_eq!(CountMessage::read(text), None, "{text:?}");
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
    let mut alone = TabSync::new("a".to_owned());
    let watching =
        Event::Watching { channels: vec!["ana".to_owned()], shares: false, hidden: false, needed: true };
    let todo = alone.on(watching, 0.0, 0.5);
    assert!(todo.contains(&Command::Open(vec!["ana".to_owned()])), "{todo:?}");
    assert!(!todo.iter().any(|command| matches!(command, Command::Lead { .. })));
}

#[test]
fn a_browser_that_refuses_its_locks_is_one_that_has_none() {
    let mut refused = TabSync::new("a".to_owned());
    let watching =
        Event::Watching { channels: vec!["ana".to_owned()], shares: true, hidden: false, needed: true };
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
        let mut tab = TabSync::new("a".to_owned());
        let channels = vec!["ana".to_owned()];
        tab.on(Event::Watching { channels, shares: true, hidden: true, needed: true }, 0.0, 0.5);
        tab.on(Event::Said("here".to_owned()), 0.0, 0.5);
        let steals = |todo: Vec<Command>| todo.contains(&Command::Lead { steal: true });
        assert!(!steals(tab.on(Event::Woken, 60_000.0, random)));
        assert_ne!(tab.state(60_000.0), CountState::Live);
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

#[test]
fn what_cannot_be_read_is_neither_news_nor_a_sign_of_life() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.news("ana", 3);
    browser.news("eva", 3);
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
    assert!(browser.is_stale(0) && browser.is_stale(1), "after half a minute without a word");
    assert_eq!((browser.shown(0), browser.shown(1)), (Some(3), Some(3)));
}

#[test]
fn a_leader_that_hangs_without_a_word_is_replaced_within_ten_seconds_of_being_looked_for() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.news("eva", 3);
    browser.on(1, Event::Seen { hidden: true });
    browser.pass(20_000.0, false);
    browser.tabs[0].frozen = true;
    browser.on(1, Event::Seen { hidden: false });
    browser.pass(6_500.0, false);
    browser.news("eva", 4);
    assert_eq!((browser.shown(1), browser.is_stale(1)), (Some(4), false));
}

#[test]
fn a_leader_that_hangs_is_noticed_also_by_a_tab_that_was_in_sight_all_along() {
    let mut browser = Browser::default();
    browser.open_each(&["ana", "eva"]);
    browser.news("eva", 3);
    browser.tabs[0].frozen = true;
    browser.pass(20_000.0, false);
    assert_eq!((browser.streams(), browser.lock), (2, Some(1)), "the browser has not ended the other");
}

#[test]
fn a_tab_that_comes_into_sight_leaves_a_leader_that_answers_alone() {
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
fn a_page_that_comes_back_is_stale_until_there_are_news() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.news("ana", 3);
    assert!(!browser.is_stale(tab));
    browser.on(tab, Event::Closed);
    browser.now += 3_600_000.0;
    browser.watch(tab, &["ana"]);
    assert_eq!(browser.state(tab), CountState::Stale);
    browser.on(tab, Event::Answered(true));
    browser.pass(2_000.0, false);
    assert_eq!(
        browser.state(tab),
        CountState::Stale,
        "an answer tells that the server is there, and no count"
    );
    browser.news("ana", 4);
    assert_eq!(browser.state(tab), CountState::Live);
}

#[test]
fn streams_that_are_refused_make_a_number_stale_and_then_unknown() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.on(tab, Event::Broken);
    let mut seen = vec![browser.state(tab)];
    for _ in 0..70 {
        browser.pass(1_000.0, false);
        if !browser.tabs[tab].stream.is_empty() {
            browser.on(tab, Event::Broken);
        }
        seen.push(browser.state(tab));
    }
    let (stale, unknown) = (CountState::Stale, CountState::Unknown);
    assert_eq!(seen[0], CountState::Live, "a break that is mended at once doesn't show");
    assert!(seen[1..60].iter().all(|state| *state == stale), "{seen:?}");
    assert!(seen[61..].iter().all(|state| *state == unknown), "{seen:?}");
}

#[test]
fn without_a_stream_the_number_follows_the_answers_of_beats_and_of_the_pages_own_questions() {
    let mut browser = Browser::default();
    let tab = browser.open(&["ana"]);
    browser.on(tab, Event::Told("ana 7 live 0".to_owned()));
    assert_eq!(browser.shown(tab), None, "beside a stream, an answer may be the older of two");
    browser.on(tab, Event::Broken);
    browser.on(tab, Event::Told("ana 8 live 0".to_owned()));
    assert_eq!((browser.shown(tab), browser.state(tab)), (Some(8), CountState::Live));
    for _ in 0..60 {
        browser.pass(1_000.0, false);
        if !browser.tabs[tab].stream.is_empty() {
            browser.on(tab, Event::Broken);
        }
        if browser.tabs[tab].counted > 0 {
            browser.tabs[tab].counted = 0;
            browser.on(tab, Event::Told("ana 9 live 0,eva 1 live 0".to_owned()));
        }
    }
    assert_eq!((browser.shown(tab), browser.state(tab)), (Some(9), CountState::Live));
    browser.pass(21_000.0, false);
    assert!(browser.is_stale(tab), "answers don't last");
}

#[test]
fn an_answer_about_one_channel_says_nothing_about_the_others() {
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
fn a_tab_that_only_reads_rests_while_nobody_sees_it_and_is_stale_until_there_are_news() {
    for shares in [true, false] {
        let mut tab = TabSync::new("a".to_owned());
        let watching =
            |hidden| Event::Watching { channels: vec!["ana".to_owned()], shares, hidden, needed: false };
        assert_eq!(tab.on(watching(true), 0.0, 0.5), [], "it begins only when somebody sees it");
        assert_eq!(tab.wait(0.0), None);
        assert_ne!(tab.on(Event::Seen { hidden: false }, 1_000.0, 0.5), []);
        if shares {
            assert_eq!(tab.state(1_000.0), CountState::Stale);
            tab.on(Event::Granted, 1_000.0, 0.5);
        }
        tab.on(Event::Count("ana 3 live 1".to_owned()), 1_100.0, 0.5);
        assert_eq!(tab.state(1_100.0), CountState::Live);
        let todo = tab.on(Event::Seen { hidden: true }, 2_000.0, 0.5);
        assert!(todo.contains(&Command::Close) && todo.contains(&Command::Resign), "{todo:?}");
        assert_eq!(tab.state(2_000.0), CountState::Stale);
        tab.on(Event::Closed, 3_000.0, 0.5);
        assert_eq!(tab.on(Event::Seen { hidden: false }, 3_100.0, 0.5), [], "one that is closed stays so");
    }
}

#[test]
fn a_viewers_page_rests_only_where_tabs_cannot_share() {
    for shares in [true, false] {
        let mut tab = TabSync::new("a".to_owned());
        let channels = vec!["ana".to_owned()];
        tab.on(Event::Watching { channels, shares, hidden: false, needed: true }, 0.0, 0.5);
        let todo = tab.on(Event::Seen { hidden: true }, 1_000.0, 0.5);
        assert_eq!(todo.contains(&Command::Close), !shares, "{todo:?}");
    }
}

#[test]
fn a_name_that_is_not_one_of_a_channel_is_left_out_of_the_stream() {
    let mut browser = Browser::default();
    browser.open(&["ana", "No name", ""]);
    browser.on(0, Event::Said("want x eva,../live,a&b,".to_owned()));
    browser.on(0, Event::Said("want".to_owned()));
    assert_eq!(browser.tabs[0].stream, ["ana", "eva"]);
}

#[test]
fn who_has_the_stream_knows_what_it_has_told_already() {
    let mut browser = Browser::default();
    let leader = browser.open(&["ana"]);
    let follower = browser.open(&["eva"]);
    browser.on(leader, Event::Count("eva 5 live 1".to_owned()));
    let told = |browser: &Browser, tab: usize, channel: &str| browser.tabs[tab].relay.told(channel);
    assert_eq!(told(&browser, leader, "eva").unwrap().count.value, Some(5));
    assert_eq!(told(&browser, leader, "ana"), None);
    // A tab that follows is answered by the leader; what it has heard may be of long ago.
    assert_eq!(told(&browser, follower, "eva"), None);
    browser.watch(leader, &[]);
    assert_eq!(told(&browser, leader, "eva"), None);
}
