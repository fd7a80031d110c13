//! Tests of the hub with paused time. Each test advances the time and polls the streams itself.

use std::{sync::atomic::AtomicUsize, task::Wake, time::Duration};

use tokio::time::{advance, timeout};

use super::*;
use crate::domain::Timestamp;

const INTERVAL: Duration = Duration::from_secs(2);

/// A waker that counts its calls.
#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

/// The next frame of a stream, or `None` if the stream would wait.
fn take(stream: &mut Subscription) -> Option<String> {
    match stream.poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(frame)) => Some(String::from_utf8(frame.to_vec()).unwrap()),
        Poll::Ready(None) => Some("end".to_owned()),
        Poll::Pending => None,
    }
}

fn shows(frame: Option<String>, count: &str) -> bool {
    frame.is_some_and(|frame| frame.contains(&format!("\"count\":{count},")))
}

/// Publishes `count` for every due channel, as the reader does. Returns the number of due channels.
fn publish_fresh(hub: &Arc<Hub>, count: u32) -> usize {
    publish(hub, Count::fresh(count, Timestamp::from_millis(1)))
}

fn publish(hub: &Arc<Hub>, count: Count) -> usize {
    let due = hub.round(Instant::now());
    let number = due.len();
    for read in due {
        read.publish(count, None, Instant::now());
    }
    number
}

#[tokio::test(start_paused = true)]
async fn the_first_count_comes_at_once_and_then_only_changes() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    assert_eq!(take(&mut stream), None);
    assert_eq!(publish_fresh(&hub, 3), 1);
    assert!(shows(take(&mut stream), "3"));
    assert_eq!(take(&mut stream), None);
    for _ in 0..5 {
        advance(INTERVAL).await;
        assert_eq!(publish_fresh(&hub, 3), 1);
        assert_eq!(take(&mut stream), None);
    }
    let mut late = hub.subscribe(&[channel("ana")]);
    assert!(shows(take(&mut late), "3"), "a later stream gets the known count");
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_read_at_once_and_later_changes_at_the_end_of_the_interval() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_fresh(&hub, 0);
    take(&mut stream);
    advance(INTERVAL).await;
    publish_fresh(&hub, 0);

    advance(Duration::from_millis(500)).await;
    hub.notify_write(&channel("ana"), 1);
    hub.wait_until_due().await;
    assert_eq!(publish_fresh(&hub, 1), 1, "read at once after a quiet interval");
    assert!(shows(take(&mut stream), "1"));

    hub.notify_write(&channel("ana"), 2);
    advance(INTERVAL - Duration::from_millis(1)).await;
    assert_eq!(publish_fresh(&hub, 2), 0, "not read before the end of the interval");
    advance(Duration::from_millis(1)).await;
    assert_eq!(publish_fresh(&hub, 2), 1);
    assert!(shows(take(&mut stream), "2"));
}

#[tokio::test(start_paused = true)]
async fn the_first_count_of_a_feed_does_not_delay_the_first_change() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_fresh(&hub, 0);
    assert!(shows(take(&mut stream), "0"));
    advance(Duration::from_millis(1)).await;
    hub.notify_write(&channel("ana"), 1);
    timeout(Duration::ZERO, hub.wait_until_due()).await.expect("due at once");
    assert_eq!(publish_fresh(&hub, 1), 1);
    assert!(shows(take(&mut stream), "1"));
    // The next change waits until the interval is over.
    hub.notify_write(&channel("ana"), 2);
    advance(INTERVAL - Duration::from_millis(1)).await;
    assert_eq!(publish_fresh(&hub, 2), 0);
    advance(Duration::from_millis(1)).await;
    assert_eq!(publish_fresh(&hub, 2), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_during_a_read_is_not_lost() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_fresh(&hub, 1);
    take(&mut stream);
    advance(INTERVAL).await;
    let read = hub.round(Instant::now()).pop().unwrap();
    // The store returns 0. Before the 0 arrives, a join returns 1, which is the published count.
    hub.notify_write(&channel("ana"), 1);
    read.publish(Count::fresh(0, Timestamp::default()), None, Instant::now());
    assert!(shows(take(&mut stream), "0"));
    advance(INTERVAL).await;
    assert_eq!(publish_fresh(&hub, 1), 1);
    assert!(shows(take(&mut stream), "1"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_of_busy_channels_gets_all_of_them_in_turn() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let names = ["ana", "bob", "eva"];
    let mut stream = hub.subscribe(&names.map(channel));
    let mut seen = Vec::new();
    for count in 1..=6 {
        // All channels have changed again before the client reads one frame.
        publish_fresh(&hub, count);
        let frame = take(&mut stream).unwrap();
        seen.extend(names.iter().position(|name| frame.contains(&format!("\"{name}\""))));
        names.iter().for_each(|name| hub.notify_write(&channel(name), count + 1));
        advance(INTERVAL).await;
    }
    assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_gets_the_newest_count_and_no_backlog() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    for count in 0..100 {
        publish_fresh(&hub, count);
        advance(INTERVAL).await;
    }
    assert!(shows(take(&mut stream), "99"));
    assert_eq!(take(&mut stream), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_between_fresh_and_stale_is_published_even_if_the_count_is_equal() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_fresh(&hub, 7);
    take(&mut stream);
    let fresh = Count::fresh(7, Timestamp::from_millis(1));
    for count in [fresh.into_stale(), Count::unknown(fresh.as_of()), fresh] {
        advance(INTERVAL).await;
        publish(&hub, count);
        let value = count.value().map_or("null".to_owned(), |value| value.to_string());
        let frame = take(&mut stream).unwrap();
        assert!(frame.contains(&format!("\"count\":{value},\"stale\":{}", count.is_stale())), "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_gets_a_tick_every_25_seconds() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_fresh(&hub, 0);
    take(&mut stream);
    advance(TICK_AFTER - Duration::from_millis(1)).await;
    publish_fresh(&hub, 0);
    assert_eq!(take(&mut stream), None);
    advance(Duration::from_millis(1)).await;
    publish_fresh(&hub, 0);
    assert!(take(&mut stream).unwrap().starts_with("event: tick\n"));
    publish_fresh(&hub, 0);
    assert_eq!(take(&mut stream), None);
    advance(INTERVAL).await;
    publish_fresh(&hub, 1);
    assert!(shows(take(&mut stream), "1"));
    advance(TICK_AFTER - INTERVAL).await;
    publish_fresh(&hub, 1);
    assert_eq!(take(&mut stream), None, "the stream was not silent");
}

#[tokio::test(start_paused = true)]
async fn ticks_wait_neither_for_a_read_in_flight_nor_for_the_next_read() {
    for interval in [INTERVAL, Duration::from_secs(60)] {
        let hub = Arc::new(Hub::new(interval));
        let mut stream = hub.subscribe(&[channel("ana")]);
        publish_fresh(&hub, 0);
        take(&mut stream);
        advance(INTERVAL).await;
        let reads = hub.round(Instant::now());
        advance(TICK_AFTER - INTERVAL).await;
        assert!(hub.round(Instant::now()).is_empty());
        assert!(take(&mut stream).unwrap().starts_with("event: tick\n"), "{interval:?}");
        drop(reads);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_read_is_repeated_after_an_interval() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    drop(hub.round(Instant::now()));
    assert_eq!(publish_fresh(&hub, 1), 0, "not repeated at once");
    advance(INTERVAL).await;
    assert_eq!(publish_fresh(&hub, 1), 1);
    assert!(shows(take(&mut stream), "1"));
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_at_most_one_read_in_flight() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let _stream = hub.subscribe(&[channel("ana")]);
    let reads = hub.round(Instant::now());
    for count in 0..10 {
        advance(INTERVAL).await;
        hub.notify_write(&channel("ana"), count);
        let _another = hub.subscribe(&[channel("ana")]);
        assert!(hub.round(Instant::now()).is_empty());
    }
    drop(reads);
}

#[tokio::test(start_paused = true)]
async fn a_round_visits_only_due_feeds_and_the_schedule_has_only_watched_feeds() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let old: Vec<_> = (0..100).map(|n| hub.subscribe(&[channel(&format!("old-{n}"))])).collect();
    assert_eq!(publish_fresh(&hub, 0), 100);
    for n in 0..10_000 {
        let stream = hub.subscribe(&[channel(&format!("new-{n}"))]);
        // Streams end before a read, during a read, and after a read was abandoned.
        let reads = if n % 3 == 0 { Vec::new() } else { hub.round(Instant::now()) };
        assert!(reads.len() <= 1, "only due feeds");
        if n % 3 == 1 {
            drop(reads);
            drop(stream);
        } else {
            drop(stream);
            drop(reads);
        }
        assert_eq!((hub.watched(), hub.schedule.len()), (100, 100));
    }
    drop(old);
    assert_eq!((hub.watched(), hub.schedule.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_stream_can_watch_many_channels() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana"), channel("bob")]);
    assert_eq!(publish_fresh(&hub, 4), 2);
    let both = [take(&mut stream).unwrap(), take(&mut stream).unwrap()].concat();
    assert!(both.contains("ana") && both.contains("bob"), "{both}");
    assert_eq!(take(&mut stream), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_channels_gets_a_tick_when_all_of_them_are_silent() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let names: Vec<ChannelId> = (0..20).map(|n| channel(&format!("c{n}"))).collect();
    let mut early = Vec::new();
    for name in &names {
        early.push(hub.subscribe(std::slice::from_ref(name)));
        publish_fresh(&hub, 0);
        advance(Duration::from_secs(1)).await;
    }
    let mut stream = hub.subscribe(&names);
    let mut ticks = Vec::new();
    for second in 0..100 {
        publish_fresh(&hub, 0);
        while let Some(frame) = take(&mut stream) {
            if frame.starts_with("event: tick") {
                ticks.push(second);
            }
        }
        advance(Duration::from_secs(1)).await;
    }
    // The last channel sent its count one second before the stream was opened.
    assert_eq!(ticks, [24, 49, 74, 99]);
}

#[tokio::test(start_paused = true)]
async fn every_waiting_stream_is_woken_once_per_change() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let woken = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut streams: Vec<_> = (0..100).map(|_| hub.subscribe(&[channel("ana")])).collect();
    for stream in &mut streams {
        assert!(stream.poll_frame(&mut Context::from_waker(&waker)).is_pending());
        assert!(stream.poll_frame(&mut Context::from_waker(&waker)).is_pending());
    }
    publish_fresh(&hub, 1);
    assert_eq!(woken.0.load(Ordering::SeqCst), 100);
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_removed_with_its_last_stream() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let (one, two) = (hub.subscribe(&[channel("ana")]), hub.subscribe(&[channel("ana")]));
    drop(one);
    assert!(!hub.is_idle());
    drop(two);
    assert!(hub.is_idle());
    assert_eq!(publish_fresh(&hub, 0), 0);
    assert_eq!(hub.schedule.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_current_and_later_streams() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    assert_eq!(take(&mut stream), None);
    hub.close();
    assert_eq!(take(&mut stream).as_deref(), Some("end"));
    assert_eq!(take(&mut hub.subscribe(&[channel("bob")])).as_deref(), Some("end"));
}

/// Publishes for every due channel that it is on air or off air. Returns the number of due channels.
fn publish_live(hub: &Arc<Hub>, live: Option<bool>) -> usize {
    let due = hub.round(Instant::now());
    let number = due.len();
    for read in due {
        read.publish(Count::fresh(3, Timestamp::from_millis(1)), live, Instant::now());
    }
    number
}

fn says(frame: Option<String>, live: &str) -> bool {
    frame.is_some_and(|frame| frame.contains(&format!(",\"live\":{live}}}")))
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_live_signal_alone_is_published_under_the_same_rules() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    publish_live(&hub, None);
    assert!(says(take(&mut stream), "null"));
    advance(INTERVAL).await;
    publish_live(&hub, Some(false));
    assert!(says(take(&mut stream), "false"));
    advance(INTERVAL).await;
    publish_live(&hub, Some(false));
    assert_eq!(take(&mut stream), None, "no change, no frame");

    // After a quiet interval a change is published at once.
    hub.notify_live(&channel("ana"));
    timeout(Duration::ZERO, hub.wait_until_due()).await.expect("due at once");
    assert_eq!(publish_live(&hub, Some(true)), 1);
    assert!(says(take(&mut stream), "true"));
    // The next one waits until the interval is over.
    hub.notify_live(&channel("ana"));
    assert_eq!(publish_live(&hub, Some(false)), 0);
    advance(INTERVAL).await;
    assert_eq!(publish_live(&hub, Some(false)), 1);
    assert!(says(take(&mut stream), "false"));
    hub.notify_live(&channel("bob"));
    assert_eq!(hub.watched(), 1, "a channel without streams is not watched");
}
