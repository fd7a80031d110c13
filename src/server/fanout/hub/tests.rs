//! Time stands still here and is moved by hand; streams are polled by hand.

use std::{sync::atomic::AtomicUsize, task::Wake, time::Duration};

use tokio::time::advance;

use super::*;
use crate::domain::Timestamp;

const INTERVAL: Duration = Duration::from_secs(2);

/// Counts how often a stream is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

/// What a stream would send now, without waiting.
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

/// Does the reader's work: answers everything that is due with `count`; how many channels that were.
fn answer(hub: &Arc<Hub>, count: u32) -> usize {
    publish(hub, Count::fresh(count, Timestamp::from_millis(1)))
}

fn publish(hub: &Arc<Hub>, count: Count) -> usize {
    let due = hub.round(Instant::now());
    let number = due.len();
    for ask in due {
        ask.publish(count, Instant::now());
    }
    number
}

#[tokio::test(start_paused = true)]
async fn the_first_count_comes_at_once_and_then_only_changes() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    assert_eq!(take(&mut stream), None);
    assert_eq!(answer(&hub, 3), 1);
    assert!(shows(take(&mut stream), "3"));
    assert_eq!(take(&mut stream), None);
    for _ in 0..5 {
        advance(INTERVAL).await;
        assert_eq!(answer(&hub, 3), 1);
        assert_eq!(take(&mut stream), None);
    }
    let mut late = hub.subscribe(&[channel("ana")]);
    assert!(shows(take(&mut late), "3"), "who comes later gets what is known");
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_quiet_interval_is_read_at_once_and_later_ones_are_gathered() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    answer(&hub, 0);
    take(&mut stream);
    advance(INTERVAL).await;
    answer(&hub, 0);

    advance(Duration::from_millis(500)).await;
    hub.notify_write(&channel("ana"), 1);
    hub.called().await;
    assert_eq!(answer(&hub, 1), 1, "quiet: at once");
    assert!(shows(take(&mut stream), "1"));

    hub.notify_write(&channel("ana"), 2);
    advance(INTERVAL - Duration::from_millis(1)).await;
    assert_eq!(answer(&hub, 2), 0, "gathered until the interval is over");
    advance(Duration::from_millis(1)).await;
    assert_eq!(answer(&hub, 2), 1);
    assert!(shows(take(&mut stream), "2"));
}

#[tokio::test(start_paused = true)]
async fn a_write_during_a_read_is_not_lost() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    answer(&hub, 1);
    take(&mut stream);
    advance(INTERVAL).await;
    let asked = hub.round(Instant::now()).pop().unwrap();
    // The store reads 0; then someone joins, which gives the count that is shown anyway; then the 0 arrives.
    hub.notify_write(&channel("ana"), 1);
    asked.publish(Count::fresh(0, Timestamp::default()), Instant::now());
    assert!(shows(take(&mut stream), "0"));
    advance(INTERVAL).await;
    assert_eq!(answer(&hub, 1), 1);
    assert!(shows(take(&mut stream), "1"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_gets_the_newest_count_and_no_backlog() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    for count in 0..100 {
        answer(&hub, count);
        advance(INTERVAL).await;
    }
    assert!(shows(take(&mut stream), "99"));
    assert_eq!(take(&mut stream), None);
}

#[tokio::test(start_paused = true)]
async fn going_stale_and_coming_back_is_news_although_the_number_is_the_same() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    answer(&hub, 7);
    take(&mut stream);
    let fresh = Count::fresh(7, Timestamp::from_millis(1));
    for count in [Count { stale: true, ..fresh }, Count::unknown(fresh.as_of), fresh] {
        advance(INTERVAL).await;
        publish(&hub, count);
        let value = count.value.map_or("null".to_owned(), |value| value.to_string());
        let frame = take(&mut stream).unwrap();
        assert!(frame.contains(&format!("\"count\":{value},\"stale\":{}", count.stale)), "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_gets_a_tick_every_25_seconds() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    answer(&hub, 0);
    take(&mut stream);
    advance(TICK_AFTER - Duration::from_millis(1)).await;
    answer(&hub, 0);
    assert_eq!(take(&mut stream), None);
    advance(Duration::from_millis(1)).await;
    answer(&hub, 0);
    assert!(take(&mut stream).unwrap().starts_with("event: tick\n"));
    answer(&hub, 0);
    assert_eq!(take(&mut stream), None);
    advance(INTERVAL).await;
    answer(&hub, 1);
    assert!(shows(take(&mut stream), "1"));
    advance(TICK_AFTER - INTERVAL).await;
    answer(&hub, 1);
    assert_eq!(take(&mut stream), None, "it was not silent");
}

#[tokio::test(start_paused = true)]
async fn ticks_do_not_wait_for_a_read_that_is_under_way_or_far_away() {
    for interval in [INTERVAL, Duration::from_secs(60)] {
        let hub = Arc::new(Hub::new(interval));
        let mut stream = hub.subscribe(&[channel("ana")]);
        answer(&hub, 0);
        take(&mut stream);
        advance(INTERVAL).await;
        let asked = hub.round(Instant::now());
        advance(TICK_AFTER - INTERVAL).await;
        assert!(hub.round(Instant::now()).is_empty());
        assert!(take(&mut stream).unwrap().starts_with("event: tick\n"), "{interval:?}");
        drop(asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_given_up_is_done_again_after_an_interval() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    drop(hub.round(Instant::now()));
    assert_eq!(answer(&hub, 1), 0, "not at once, whatever it was that went wrong");
    advance(INTERVAL).await;
    assert_eq!(answer(&hub, 1), 1);
    assert!(shows(take(&mut stream), "1"));
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_asked_for_once_at_a_time_so_that_no_reading_overtakes_another() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let _stream = hub.subscribe(&[channel("ana")]);
    let asked = hub.round(Instant::now());
    for count in 0..10 {
        advance(INTERVAL).await;
        hub.notify_write(&channel("ana"), count);
        let _another = hub.subscribe(&[channel("ana")]);
        assert!(hub.round(Instant::now()).is_empty());
    }
    drop(asked);
}

#[tokio::test(start_paused = true)]
async fn a_round_holds_what_is_due_and_the_schedule_what_is_watched() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let old: Vec<_> = (0..100).map(|n| hub.subscribe(&[channel(&format!("old-{n}"))])).collect();
    assert_eq!(answer(&hub, 0), 100);
    for n in 0..10_000 {
        let stream = hub.subscribe(&[channel(&format!("new-{n}"))]);
        // Some go before they were read, some while they are, some after it.
        let asked = if n % 3 == 0 { Vec::new() } else { hub.round(Instant::now()) };
        assert!(asked.len() <= 1, "only what is due");
        if n % 3 == 1 {
            drop(asked);
            drop(stream);
        } else {
            drop(stream);
            drop(asked);
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
    assert_eq!(answer(&hub, 4), 2);
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
        answer(&hub, 0);
        advance(Duration::from_secs(1)).await;
    }
    let mut stream = hub.subscribe(&names);
    let mut ticks = Vec::new();
    for second in 0..100 {
        answer(&hub, 0);
        while let Some(frame) = take(&mut stream) {
            if frame.starts_with("event: tick") {
                ticks.push(second);
            }
        }
        advance(Duration::from_secs(1)).await;
    }
    // The last of the channels spoke a second before the stream was opened.
    assert_eq!(ticks, [24, 49, 74, 99]);
}

#[tokio::test(start_paused = true)]
async fn every_waiting_stream_is_woken_once_per_change() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut streams: Vec<_> = (0..100).map(|_| hub.subscribe(&[channel("ana")])).collect();
    for stream in &mut streams {
        assert!(stream.poll_frame(&mut Context::from_waker(&waker)).is_pending());
        assert!(stream.poll_frame(&mut Context::from_waker(&waker)).is_pending());
    }
    answer(&hub, 1);
    assert_eq!(woken.0.load(Ordering::SeqCst), 100);
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_forgotten_with_its_last_stream() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let (one, two) = (hub.subscribe(&[channel("ana")]), hub.subscribe(&[channel("ana")]));
    drop(one);
    assert!(!hub.is_idle());
    drop(two);
    assert!(hub.is_idle());
    assert_eq!(answer(&hub, 0), 0);
    assert_eq!(hub.schedule.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_every_stream_and_every_later_one() {
    let hub = Arc::new(Hub::new(INTERVAL));
    let mut stream = hub.subscribe(&[channel("ana")]);
    assert_eq!(take(&mut stream), None);
    hub.close();
    assert_eq!(take(&mut stream).as_deref(), Some("end"));
    assert_eq!(take(&mut hub.subscribe(&[channel("bob")])).as_deref(), Some("end"));
}
