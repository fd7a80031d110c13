use super::{Command::*, *};

const VISIBLE: Command = Heartbeat { hidden: false, ticket: false };
const OPENED: Event = Event::Opened { hidden: false };
const ANSWERED: Event = Event::Answered { active: true, interval: Some(30_000.0) };
const FAILED: Event = Event::Failed { retry_after: 0.0 };

/// A page that joined at 0 ms.
fn joined() -> Tracker {
    let mut tracker = Tracker::new(30_000.0);
    assert_eq!(tracker.on(OPENED, 0.0, 0.5), Some(Join { hidden: false, ticket: false }));
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
fn a_page_joins_once_and_then_beats_every_24_to_30_seconds() {
    let mut tracker = joined();
    assert_eq!(tracker.wait(0.0), Some(30_000.0));
    assert_eq!(tracker.on(Event::Woken, 29_999.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Answered { active: true, interval: None }, 30_100.0, 0.0), None);
    assert_eq!(tracker.wait(30_100.0), Some(24_000.0));
}

#[test]
fn the_server_sets_the_interval() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    tracker.on(Event::Answered { active: true, interval: Some(1_000.0) }, 0.0, 1.0);
    assert_eq!(tracker.wait(0.0), Some(1_000.0));
}

#[test]
fn a_stream_event_sends_a_due_beat_when_timers_are_throttled() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Woken, 61_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Woken, 61_001.0, 0.5), None, "one request at a time");
}

#[test]
fn hiding_beats_after_a_second_and_returning_beats_at_once_with_the_new_visibility() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 5_000.0, 0.5), None);
    assert_eq!(tracker.wait(5_000.0), Some(1_000.0));
    assert_eq!(tracker.on(Event::Woken, 6_000.0, 0.5), Some(Heartbeat { hidden: true, ticket: false }));
    tracker.on(ANSWERED, 6_001.0, 0.5);
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 6_500.0, 0.5), None, "nothing changed");
    assert_eq!(tracker.on(Event::Seen { hidden: false }, 7_000.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_page_that_hides_while_closing_sends_only_the_leave() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 5_000.0, 0.5), None);
    assert_eq!(tracker.on(Event::Closed, 5_010.0, 0.5), Some(Leave));
}

#[test]
fn hiding_during_a_request_is_reported_soon_after_its_answer() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 50.0, 0.5), None);
    assert_eq!(tracker.on(ANSWERED, 100.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 1_050.0, 0.5), Some(Heartbeat { hidden: true, ticket: false }));
    assert_eq!(tracker.on(Event::Seen { hidden: false }, 1_050.0, 0.5), None, "one request at a time");
    assert_eq!(tracker.on(ANSWERED, 1_100.0, 0.5), Some(VISIBLE));
}

#[test]
fn failures_back_off_up_to_30_seconds_and_retries_never_stop() {
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
fn the_backoff_has_jitter_and_respects_retry_after() {
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
fn retry_after_is_limited_to_two_minutes() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(Event::Failed { retry_after: 3_600_000.0 }, 30_000.0, 0.5);
    assert_eq!(tracker.on(Event::Woken, 149_999.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 150_000.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_failed_join_is_retried() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    tracker.on(FAILED, 10.0, 0.0);
    assert_eq!(tracker.on(Event::Woken, 510.0, 0.5), Some(Join { hidden: false, ticket: false }));
}

#[test]
fn going_online_after_a_failure_skips_the_backoff() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Online, 1_000.0, 0.5), None, "no request had failed");
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(FAILED, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Online, 30_100.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_request_lost_to_sleep_times_out() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.wait(30_000.0), Some(ANSWER_TIMEOUT));
    assert_eq!(tracker.on(Event::Woken, 3_600_000.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 3_600_500.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_session_that_is_not_active_joins_again() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(Event::Answered { active: false, interval: None }, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Woken, 31_000.0, 0.5), Some(Join { hidden: false, ticket: false }));
}

#[test]
fn closing_leaves_once_and_stops_the_timer() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Closed, 1.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Closed, 2.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 90_000.0, 0.5), None);
    assert_eq!(tracker.wait(90_000.0), None);
}

#[test]
fn closing_during_the_join_leaves() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    assert_eq!(tracker.on(Event::Closed, 1.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(ANSWERED, 2.0, 0.5), None);
}

#[test]
fn an_unloading_page_leaves_once() {
    let mut tracker = joined();
    assert_eq!(tracker.on(Event::Unloading, 1_000.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Unloading, 1_001.0, 0.5), None, "once");
    assert_eq!(tracker.on(Event::Seen { hidden: true }, 1_002.0, 0.5), None, "a closing page is hidden too");
    assert_eq!(tracker.on(Event::Woken, 1_003.0, 0.5), None);
    assert_eq!(tracker.on(Event::Closed, 1_004.0, 0.5), None);
    assert_eq!(tracker.wait(1_004.0), None);
}

#[test]
fn a_page_that_stays_after_unloading_joins_again_and_leaves_when_it_closes() {
    let mut tracker = joined();
    tracker.on(Event::Unloading, 1_000.0, 0.5);
    assert_eq!(tracker.wait(1_000.0), Some(2_000.0));
    assert_eq!(tracker.on(Event::Woken, 3_000.0, 0.5), Some(Join { hidden: false, ticket: false }));
    assert_eq!(tracker.on(ANSWERED, 3_001.0, 1.0), None);
    assert_eq!(tracker.wait(3_001.0), Some(30_000.0));
    assert_eq!(tracker.on(Event::Closed, 4_000.0, 0.5), Some(Leave));
}

#[test]
fn unloading_cancels_the_request_and_the_backoff() {
    let mut tracker = joined();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(FAILED, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Online, 30_100.0, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Unloading, 30_200.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(Event::Online, 30_300.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 32_200.0, 0.5), Some(Join { hidden: false, ticket: false }));
}

#[test]
fn a_page_that_is_not_a_viewer_sends_no_leave_when_unloading() {
    assert_eq!(Tracker::new(30_000.0).on(Event::Unloading, 0.0, 0.5), None);
    let mut tracker = joined();
    tracker.on(Event::Closed, 1.0, 0.5);
    assert_eq!(tracker.on(Event::Unloading, 2.0, 0.5), None);
    assert_eq!(tracker.wait(3.0), None);
}

#[test]
fn a_page_restored_from_the_back_forward_cache_joins_at_once() {
    let mut tracker = joined();
    tracker.on(Event::Closed, 1_000.0, 0.5);
    assert_eq!(
        tracker.on(Event::Opened { hidden: false }, 2_000.0, 0.5),
        Some(Join { hidden: false, ticket: false })
    );
}

#[test]
fn a_clock_set_back_does_not_stop_the_beats() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 1e12, 0.5);
    tracker.on(ANSWERED, 1e12, 0.5);
    let earlier = 1e12 - 3_600_000.0;
    assert!(tracker.wait(earlier).unwrap() <= 60_000.0);
    assert_eq!(tracker.on(Event::Woken, earlier, 0.5), Some(VISIBLE));
    assert_eq!(tracker.on(Event::Woken, earlier - 1.0, 0.5), None, "the request times out too");
    assert_eq!(tracker.on(Event::Woken, earlier + 1_000.0, 0.5), Some(VISIBLE));
}

/// A page with a ticket that joined at 0 ms.
fn joined_with_ticket() -> Tracker {
    let mut tracker = Tracker::new(30_000.0);
    assert_eq!(tracker.on(Event::Ticket, 0.0, 0.5), None);
    assert_eq!(tracker.on(OPENED, 0.0, 0.5), Some(Join { hidden: false, ticket: true }));
    assert_eq!(tracker.on(ANSWERED, 0.0, 1.0), None);
    tracker
}

const WANTED: Event = Event::Refused { wants_ticket: true };
const REJECTED: Event = Event::Refused { wants_ticket: false };

#[test]
fn a_join_carries_the_ticket_and_a_heartbeat_does_not() {
    let mut tracker = joined_with_ticket();
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    // A session that has left joins again, with the ticket.
    tracker.on(Event::Answered { active: false, interval: None }, 30_000.0, 1.0);
    assert_eq!(tracker.on(Event::Woken, 31_000.0, 0.5), Some(Join { hidden: false, ticket: true }));
    tracker.on(ANSWERED, 31_000.0, 0.5);
    tracker.on(Event::Closed, 40_000.0, 0.5);
    assert_eq!(tracker.on(OPENED, 50_000.0, 0.5), Some(Join { hidden: false, ticket: true }));
}

#[test]
fn a_heartbeat_shows_the_ticket_at_once_if_the_server_wants_it() {
    let mut tracker = joined_with_ticket();
    assert_eq!(tracker.on(Event::Woken, 30_000.0, 0.5), Some(VISIBLE));
    let shown = Some(Heartbeat { hidden: false, ticket: true });
    assert_eq!(tracker.on(WANTED, 30_010.0, 0.5), shown);
    // Until it is answered, every heartbeat shows it.
    tracker.on(FAILED, 30_020.0, 1.0);
    assert_eq!(tracker.on(Event::Woken, 31_020.0, 0.5), shown);
    tracker.on(ANSWERED, 31_030.0, 1.0);
    assert_eq!(tracker.on(Event::Woken, 61_030.0, 0.5), Some(VISIBLE));
}

#[test]
fn a_server_that_wants_a_ticket_again_and_again_is_asked_less_and_less_often() {
    for has_ticket in [true, false] {
        let mut tracker = if has_ticket { joined_with_ticket() } else { joined() };
        let mut now = 30_000.0;
        tracker.on(Event::Woken, now, 0.5);
        if has_ticket {
            assert!(tracker.on(WANTED, now, 0.5).is_some());
        }
        for expected in [1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 30_000.0, 30_000.0] {
            assert_eq!(tracker.on(WANTED, now, 1.0), None);
            assert_eq!(tracker.wait(now), Some(expected));
            now += expected;
            let again = Some(Join { hidden: false, ticket: has_ticket });
            assert_eq!(tracker.on(Event::Woken, now, 0.5), again, "the session is not counted");
        }
    }
}

#[test]
fn a_page_goes_on_without_a_ticket_that_is_refused() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(Event::Ticket, 0.0, 0.5);
    tracker.on(OPENED, 0.0, 0.5);
    let without = Some(Join { hidden: false, ticket: false });
    assert_eq!(tracker.on(REJECTED, 10.0, 0.5), without);
    assert!(!tracker.has_ticket());
    assert_eq!(tracker.on(WANTED, 20.0, 0.0), None, "there is none to show");
    assert_eq!(tracker.wait(20.0), Some(500.0));
    assert_eq!(tracker.on(Event::Woken, 520.0, 0.5), without);

    // The ticket of a session that is no longer counted has expired.
    let mut tracker = joined_with_ticket();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    tracker.on(WANTED, 30_000.0, 0.5);
    assert_eq!(tracker.on(REJECTED, 30_010.0, 0.5), without, "a new join, as another viewer");
}

#[test]
fn a_new_ticket_is_used_at_once_if_the_page_is_not_counted() {
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    tracker.on(WANTED, 10.0, 1.0);
    assert_eq!(tracker.on(Event::Ticket, 20.0, 0.5), Some(Join { hidden: false, ticket: true }));
    tracker.on(ANSWERED, 30.0, 1.0);
    assert_eq!(tracker.on(Event::Ticket, 40.0, 0.5), None, "the session is counted");
    assert_eq!(tracker.wait(40.0), Some(29_990.0));

    // It arrives while a join without it is in flight.
    let mut tracker = Tracker::new(30_000.0);
    tracker.on(OPENED, 0.0, 0.5);
    assert_eq!(tracker.on(Event::Ticket, 5.0, 0.5), None, "one request at a time");
    assert_eq!(tracker.on(WANTED, 10.0, 0.5), Some(Join { hidden: false, ticket: true }));
}

#[test]
fn a_refusal_does_not_keep_an_unloading_page() {
    let mut tracker = joined_with_ticket();
    tracker.on(Event::Woken, 30_000.0, 0.5);
    assert_eq!(tracker.on(Event::Unloading, 30_010.0, 0.5), Some(Leave));
    assert_eq!(tracker.on(WANTED, 30_020.0, 0.5), None);
    assert_eq!(tracker.on(Event::Woken, 32_010.0, 0.5), Some(Join { hidden: false, ticket: true }));
}
