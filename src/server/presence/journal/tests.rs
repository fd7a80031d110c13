//! Losses and outages as readings show them.

use uuid::Uuid;

use super::*;
use crate::{
    domain::{Policy, SessionId, ViewerId},
    server::store::RollCall,
};

fn join(n: u128) -> Op {
    let uuid = Uuid::from_u128(n);
    let act = Act::Join { lease: Duration::from_secs(60) };
    Op { viewer: ViewerId::new(uuid).unwrap(), session: SessionId::new(uuid).unwrap(), act }
}

fn reading(mark: u64, millis: u64) -> Reading {
    Reading { mark: Some(Mark(mark)), ..Reading::certain(1, Timestamp::from_millis(millis)) }
}

fn journal() -> (Journal, Arc<LastRollCall>) {
    let (policy, roll) = (Policy::default(), Arc::new(LastRollCall::default()));
    (Journal::new(policy.lease_rules(), policy.update_interval, Arc::clone(&roll)), roll)
}

/// The journal of the only node of a store.
fn journal_without_roll_call() -> Journal {
    let (journal, roll) = journal();
    roll.set_not_kept();
    journal
}

#[test]
fn nodes_are_asked_to_check_after_a_restore_that_no_node_has_announced() {
    let (journal, roll) = journal();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    let at = Timestamp::from_millis;
    let call = |asked, sure_since| RollCall {
        now: at(9_000),
        number: 1,
        epoch: None,
        lost: at(0),
        asked,
        sure_since,
        nodes: Vec::new(),
    };
    let restored = Reading { restored: at(5_000), ..reading(7, 9_000) };
    roll.set(call(at(4_000), at(4_500)));
    assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::Recovering);
    assert!(journal.take_found_loss());
    roll.set(call(at(6_000), at(4_500)));
    assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::Recovering);
    assert!(!journal.take_found_loss(), "the nodes have been asked already");
    roll.set(call(at(6_000), at(6_500)));
    assert_eq!(journal.observe(&channel, &Ok(restored), now).1, Loss::None);
}

#[test]
fn a_channel_whose_server_of_a_cluster_was_away_is_stale() {
    let (journal, roll) = journal();
    let now = Timestamp::from_millis(1_000);
    let call = |nodes| RollCall {
        now: Timestamp::from_millis(9_000),
        number: 1,
        epoch: None,
        lost: Timestamp::default(),
        asked: Timestamp::default(),
        sure_since: Timestamp::default(),
        nodes,
    };
    let was_away = Reading { was_away: true, ..reading(7, 3_000) };
    let [read_before, new] = ["ana", "bob"].map(|name| ChannelId::parse(name).unwrap());
    roll.set(call(vec![1, 2]));
    assert_eq!(journal.observe(&read_before, &Ok(reading(7, 1_000)), now).1, Loss::None);
    for channel in [&read_before, &new] {
        let (count, loss) = journal.observe(channel, &Ok(was_away), now);
        assert_eq!((count.value(), count.is_stale(), loss), (Some(1), true, Loss::Recovering));
        assert_eq!(journal.observe(channel, &Ok(reading(7, 3_000)), now).1, Loss::None);
    }
    // The only node has to replay what the server has lost, too.
    roll.set(call(vec![1]));
    assert_eq!(journal.observe(&new, &Ok(was_away), now).1, Loss::Recovering);
}

#[test]
fn a_node_that_does_not_know_the_roll_call_trusts_no_reading() {
    let (journal, roll) = journal();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    let (count, loss) = journal.observe(&channel, &Ok(reading(7, 1_000)), now);
    assert_eq!((count.is_stale(), loss), (true, Loss::Unverified), "a cluster's readings have no epoch");
    roll.set_not_kept();
    let (count, loss) = journal.observe(&channel, &Ok(reading(7, 1_000)), now);
    assert_eq!((count.is_stale(), loss), (false, Loss::None));
}

#[test]
fn a_node_that_only_reads_a_channel_notices_its_loss() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_000)), now).1, Loss::None);
    let empty = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(3_000)) };
    let (count, loss) = journal.observe(&channel, &Ok(empty), now);
    assert_eq!((count.value(), count.is_stale(), loss), (Some(1), true, Loss::Detected));
}

#[test]
fn a_response_shows_that_the_store_has_lost_the_session_of_its_beat() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    journal.observe(&channel, &Ok(reading(7, 1_000)), now);
    let (whole, lost) = (reading(7, 1_001), reading(8, 1_001));
    let before = journal.accept(&channel, &join(1), now, now);
    assert!(!before.is_lost_by(&whole) && before.is_lost_by(&lost));
    let was_away = Reading { was_away: true, ..whole };
    assert!(before.is_lost_by(&was_away), "a replica that took over may lack the join");
    journal.observe(&channel, &Ok(lost), now);
    let after = journal.accept(&channel, &join(1), now, now);
    assert!(after.is_lost_by(&lost) && journal.lacks(&channel, &join(1)), "it is not replayed yet");
    journal.learn_time(now, now, now);
    let piece = journal.next_piece(&channel, now, 10).unwrap();
    journal.mark_written(&piece, &lost);
    let replayed = journal.accept(&channel, &join(1), now, now);
    assert!(!replayed.is_lost_by(&lost) && !journal.lacks(&channel, &join(1)));
    journal.mark_all_suspect();
    assert!(journal.lacks(&channel, &join(1)), "the store was replaced");
}

#[test]
fn an_older_reading_that_arrives_late_shows_no_loss() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_002)), now).1, Loss::None);
    // These readings were made before the join was written.
    for as_of in [1_001, 1_002] {
        let before = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(as_of)) };
        assert_eq!(journal.observe(&channel, &Ok(before), now).1, Loss::None);
    }
    let after = Reading { mark: None, ..Reading::certain(0, Timestamp::from_millis(1_003)) };
    assert_eq!(journal.observe(&channel, &Ok(after), now).1, Loss::Detected);
}

#[test]
fn a_reading_of_another_mark_is_not_taken_for_a_count_unless_it_is_newer() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    let whole = Reading { count: 30, ..reading(7, 1_002) };
    assert_eq!(journal.observe(&channel, &Ok(whole), now), (Count::from(whole), Loss::None));
    // The channel is lost and gets its first new viewer within a millisecond.
    assert_eq!(journal.observe(&channel, &Ok(reading(8, 1_002)), now), (Count::from(whole), Loss::None));
    let (count, loss) = journal.observe(&channel, &Ok(reading(8, 1_003)), now);
    assert_eq!((count.value(), count.is_stale(), loss), (Some(30), true, Loss::Detected));
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_noticed_although_the_clock_of_the_store_was_set_back() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    assert_eq!(journal.observe(&channel, &Ok(reading(7, 900_000)), now).1, Loss::None);
    tokio::time::advance(OVERTAKEN_FOR).await;
    let (count, loss) = journal.observe(&channel, &Ok(reading(8, 1_000)), now);
    assert_eq!((count.is_stale(), loss), (true, Loss::Detected));
}

#[test]
fn nothing_is_replayed_before_the_time_of_the_store_is_known() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    journal.mark_unwritten(&channel, &join(1));
    assert!(!journal.knows_time());
    assert!(journal.next_piece(&channel, now, 100).is_none());
    journal.learn_time(now, now, Timestamp::from_millis(7_001_000));
    let piece = journal.next_piece(&channel, now, 100).unwrap();
    let Act::Late(session) = piece.batch.ops[0].act else { panic!("expected a late write") };
    assert_eq!(session.at(), Timestamp::from_millis(7_001_000));
}

#[test]
fn a_late_write_shows_a_loss() {
    let journal = journal_without_roll_call();
    let (channel, now) = (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000));
    journal.accept(&channel, &join(1), now, now);
    assert_eq!(journal.observe(&channel, &Ok(reading(7, 1_000)), now).1, Loss::None);
    // The store is unavailable for a while and comes back without the channel.
    journal.accept(&channel, &join(2), now, now);
    journal.mark_unwritten(&channel, &join(2));
    journal.learn_time(now, now, now);
    let piece = journal.next_piece(&channel, now, 100).unwrap();
    assert_eq!(piece.batch.ops.len(), 1);
    journal.mark_written(&piece, &reading(8, 2_000));
    assert!(journal.take_found_loss());
    let piece = journal.next_piece(&channel, now, 100).unwrap();
    assert_eq!(piece.batch.ops.len(), 2, "both are replayed");
    journal.mark_written(&piece, &reading(8, 3_000));
    assert!(journal.unwritten().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_answered_with_a_recent_count_of_a_channel_that_is_whole() {
    let (journal, (channel, now)) =
        (journal_without_roll_call(), (ChannelId::parse("ana").unwrap(), Timestamp::from_millis(1_000)));
    let beat = Op { act: Act::Heartbeat { lease: Duration::from_secs(60) }, ..join(1) };
    let answer_of = |journal: &Journal, least_sessions| {
        let rule = RenewalRule { beaten_within: Duration::ZERO, least_sessions };
        journal.count_for_renewal(&channel, &beat, rule, now).and_then(|count| count.live())
    };
    let answer = |journal: &Journal| answer_of(journal, 1);
    assert_eq!(answer(&journal), None, "an unknown channel");
    let accepted = journal.accept(&channel, &join(1), now, now);
    journal.confirm(&channel, &join(1), accepted, (now, now), Some(now), true);
    assert_eq!(answer(&journal), None, "its count is not known");
    journal.observe(&channel, &Ok(reading(7, 1_000)), now);
    assert_eq!((answer(&journal), answer_of(&journal, 2)), (Some(1), None));
    tokio::time::advance(RECENT_FOR.min(Policy::default().update_interval)).await;
    assert_eq!(answer(&journal), None, "the count is too old");
    journal.observe(&channel, &Ok(reading(7, 1_001)), now);
    assert_eq!(answer(&journal), Some(1));
    journal.mark_all_suspect();
    assert_eq!(answer(&journal), None, "the store may have lost it");
    let piece = journal.next_piece(&channel, now, 10).unwrap();
    journal.mark_written(&piece, &reading(7, 1_002));
    assert_eq!(answer(&journal), Some(1));
    journal.observe(&channel, &Ok(reading(7, 1_004)), now);
    journal.observe(&channel, &Ok(Reading { count: 2, ..reading(7, 1_004) }), now);
    assert_eq!(answer(&journal), None, "two counts of the same millisecond");
    journal.observe(&channel, &Ok(Reading { count: 2, ..reading(7, 1_004) }), now);
    assert_eq!(answer(&journal), None, "one of them again");
    journal.observe(&channel, &Ok(Reading { count: 2, ..reading(7, 1_005) }), now);
    assert_eq!(answer(&journal), Some(2));
    journal.observe(&channel, &Ok(reading(8, 1_006)), now);
    assert_eq!(answer(&journal), None, "the store has lost it");
}
