use super::{Command::*, *};

const VISIBLE: Command = Heartbeat { hidden: false };
const OPENED: Event = Event::Opened { hidden: false };
const ANSWERED: Event = Event::Answered { active: true, interval: Some(30_000.0) };
const FAILED: Event = Event::Failed { retry_after: 0.0 };

/// A page that has joined at 0 ms.
fn joined() -> Tracker {
    let mut tracker = Tracker::new(30_000.0);
    assert_eq!(tracker.on(OPENED, 0.0, 0.5), Some(Join { hidden: false }));
    assert_eq!(tracker.on(ANSWERED, 0.0, 1.0), None);
    tracker
}

#[test]
fn nothing_is_sent_before_the_page_opens() {
    let mut tracker = Tracker::new(30_000.0);
    assert_eq!(tracker.wait(0.0), None);
    for event in [Event::Woken, Event::Online, Event::Seen { hidden: true }, Event::Unloading, Event::Closed]
    {
        assert_eq!(tracker.on(event, 1e9, 0.5), None, "{event:?}");
    }
}

#[test]
fn one_join_then_beats_after_24_to_30_seconds() {
    let mut tracker = joined();
    assert_eq!(tracker.wait(0.0), Some(30_000.0));
    assert_eq!(tracker.on(Event::Woken, 29_999.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Answered { active: true, interval: None }, 30_100.0, 0.0), None);
    assert_eq!(tracker.wait(30_100.0), Some(24_000.0));
}

#[test]
fn the_interval_is_the_servers() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    tracker.on(Event::Answered { active: true, interval: Some(1_000.0) }, 0.0, 1.0);
    assert_eq!(tracker.wait(0.0), Some(1_000.0));
}

#[test]
fn a_stream_event_beats_when_the_browser_holds_the_timer_back() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Woken, 61_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Woken, 61_001.0, 0.5), None, "one at a time");
}

#[test]
fn hiding_beats_after_a_second_and_coming_back_at_once_and_both_say_which() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 5_000.0, 0.5), None);
    assert_eq!(tracker.wait(5_000.0), Some(1_000.0));
    assert_eq!(tracker.on(Event::Woken, 6_000.0, 0.5), Some(Heartbeat { hidden: true }));
    tracker.on(ANSWERED, 6_001.0, 0.5);
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 6_500.0, 0.5), None, "no news");
    assert_eq!(tracker.on(Event::Seen { hidden: false }, 7_000.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_page_that_hides_because_it_closes_says_nothing_of_being_hidden() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 5_000.0, 0.5), None);
    assert_eq!(tracker.on(Event::Closed, 5_010.0, 0.5), Some(Leave));
}

#[test]
fn hiding_while_a_request_is_under_way_is_said_soon_after_its_answer() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 50.0, 0.5), None);
    assert_eq!(tracker.on(ANSWERED, 100.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 1_050.0, 0.5), Some(Heartbeat { hidden: true }));
    assert_eq!(tracker.on(Event::Seen { hidden: false }, 1_050.0, 0.5), None, "one at a time");
    assert_eq!(tracker.on(ANSWERED, 1_100.0, 0.5), Some(VISIBLE));
}

#[test]
fn failures_back_off_up_to_half_a_minute_and_never_end_it() {
    let mut tracker = joined();
    let mut now = 30_000.0;
    assert_eq!(tracker.on(Event::Woken, now, 0.5), Some(VISIBLE));
    for expected in [1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0].into_iter().chain([30_000.0; 100]) {
        assert_eq!(tracker.on(FAILED, now, 1.0), None);
        assert_eq!(tracker.wait(now), Some(expected));
        now += expected;
        assert_eq!(tracker.on(Event::Woken, now, 0.5), Some(VISIBLE));
    }
    tracker.on(ANSWERED, now, 1.0);
    assert_eq!(tracker.wait(now), Some(30_000.0));
}

#[test]
fn back_off_is_jittered_and_heeds_retry_after() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(FAILED, 30_000.0, 0.0);
    assert_eq!(tracker.wait(30_000.0), Some(500.0));

    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(Event::Failed { retry_after: 90_000.0 }, 30_000.0, 0.5);
    assert_eq!(tracker.on(Event::Woken, 119_999.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 120_000.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_server_that_asks_for_an_hour_is_asked_again_after_two_minutes() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(Event::Failed { retry_after: 3_600_000.0 }, 30_000.0, 0.5);
    assert_eq!(tracker.on(Event::Woken, 149_999.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 150_000.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_join_that_failed_is_joined_again() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    tracker.on(FAILED, 10.0, 0.0);
    assert_eq!(tracker.on(Event::Woken, 510.0, 0.5), Some(Join { hidden: false }));
}

#[test]
fn coming_online_after_a_failure_does_not_wait_for_the_back_off() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Online, 1_000.0, 0.5), None, "nothing had failed");
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(FAILED, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Online, 30_100.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_request_that_sleep_swallowed_is_given_up() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.wait(30_000.0), Some(ANSWER_TIMEOUT));
    assert_eq!(tracker.on(Event::Woken, 3_600_000.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 3_600_500.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_session_that_the_server_has_seen_leave_joins_again() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(Event::Answered { active: false, interval: None }, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Woken, 31_000.0, 0.5), Some(Join { hidden: false }));
}

#[test]
fn closing_leaves_once_and_ends_every_timer() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Closed, 1.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Closed, 2.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 90_000.0, 0.5), None);
    assert_eq!(tracker.wait(90_000.0), None);
}

#[test]
fn closing_leaves_also_while_the_join_is_under_way() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    assert_eq!(tracker.on(Event::Closed, 1.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(ANSWERED, 2.0, 0.5), None);
}

#[test]
fn a_page_about_to_unload_leaves_then_and_not_once_more_when_it_closes() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Unloading, 1_000.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Unloading, 1_001.0, 0.5), None, "once");
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 1_002.0, 0.5), None, "closing hides it as well");
    assert_eq!(tracker.on(Event::Woken, 1_003.0, 0.5), None);
    assert_eq!(tracker.on(Event::Closed, 1_004.0, 0.5), None);
    assert_eq!(tracker.wait(1_004.0), None);
}

#[test]
fn a_page_that_stays_after_all_joins_again_and_leaves_when_it_closes() {
    let mut tracker = joined();
    tracker.on(Event::Unloading, 1_000.0, 0.5);
    assert_eq!(tracker.wait(1_000.0), Some(2_000.0));
    assert_eq!(tracker.on(Event::Woken, 3_000.0, 0.5), Some(Join { hidden: false }));
    assert_eq!(tracker.on(ANSWERED, 3_001.0, 1.0), None);
    assert_eq!(tracker.wait(3_001.0), Some(30_000.0));
    assert_eq!(tracker.on(Event::Closed, 4_000.0, 0.5), Some(Leave));
}

#[test]
fn a_page_about_to_unload_gives_up_its_request_and_its_pause() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(FAILED, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Online, 30_100.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Unloading, 30_200.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Online, 30_300.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 32_200.0, 0.5), Some(Join { hidden: false }));
}

#[test]
fn a_page_that_is_no_viewer_unloads_in_silence() {
    assert_eq!(Tracker::new(30_000.0).on(Event::Unloading, 0.0, 0.5), None);
    let mut tracker = joined();
    tracker.on(Event::Closed, 1.0, 0.5);
    assert_eq!(tracker.on(Event::Unloading, 2.0, 0.5), None);
    assert_eq!(tracker.wait(3.0), None);
}

#[test]
fn back_from_the_cache_it_joins_at_once() {
    let mut tracker = joined();
    tracker.on(Event::Closed, 1_000.0, 0.5);
    assert_eq!(tracker.on(Event::Opened { hidden: false }, 2_000.0, 0.5), Some(Join { hidden: false }));
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_the_page() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 1e12, 0.5);
    tracker.on(ANSWERED, 1e12, 0.5);
    let earlier = 1e12 - 3_600_000.0;
    assert!(tracker.wait(earlier).unwrap() <= 60_000.0);
    assert_eq!(tracker.on(Event::Woken, earlier, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Woken, earlier - 1.0, 0.5), None, "also the request is given up");
    assert_eq!(tracker.on(Event::Woken, earlier + 1_000.0, 0.5), Some(VISIBLE));
}
