//! The contract of the store of live signals, in SQLite and in PostgreSQL.

use super::*;

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

fn on(publisher: &str) -> Report {
    Report::OnAir { started_at: None, publisher: Publisher::new(publisher) }
}

fn off(publisher: &str) -> Report {
    Report::OffAir { publisher: Publisher::new(publisher) }
}

/// Checks the contract of a store of live signals, which two nodes use. `name` makes the channels unique, so that a
/// database can be used again.
async fn check_contract(nodes: [&dyn SignalStore; 2], name: &str) {
    let [here, there] = nodes;
    let [ana, bob, eva] = ["ana", "bob", "eva"].map(|part| channel(&format!("{name}-{part}")));
    let is_ours = |change: &Change| change.channel.as_str().starts_with(name);
    let on_air = async |node: &dyn SignalStore| {
        let whole = node.changes(None).await.unwrap();
        assert!(whole.is_whole);
        let mut names: Vec<_> = whole.changes.into_iter().filter(is_ours).collect();
        names.sort_by(|one, other| one.channel.cmp(&other.channel));
        (names, whole.newest)
    };

    let (none, start) = on_air(here).await;
    assert_eq!(none, []);
    let ended = here.report(&ana, off("")).await.unwrap();
    assert_eq!(ended.since, None, "a channel that was never on air can end");

    let first = here.report(&ana, on("a")).await.unwrap();
    let since = first.since.expect("on air");
    assert!(since > Timestamp::from_millis(1_700_000_000_000), "by the clock of the database: {since:?}");
    assert!(first.number > start);
    let repeated = there.report(&ana, on("a")).await.unwrap();
    assert_eq!(repeated, first, "a repetition is no change");
    let seen = there.changes(Some(start)).await.unwrap();
    assert!(!seen.is_whole && seen.newest >= first.number);
    assert_eq!(seen.changes, std::slice::from_ref(&first));
    assert_eq!(there.changes(Some(seen.newest)).await.unwrap().changes, []);

    let early = Timestamp::from_millis(since.as_millis() - 3_600_000);
    let given = Report::OnAir { started_at: Some(early), publisher: None };
    assert_eq!(here.report(&ana, given.clone()).await.unwrap().since, Some(since), "the first start holds");
    assert_eq!(here.report(&bob, given).await.unwrap().since, Some(early));
    assert_eq!(on_air(there).await.0.iter().map(|change| &change.channel).collect::<Vec<_>>(), [&ana, &bob]);

    // The rules of publishers hold across nodes.
    assert!(there.report(&ana, on("b")).await.unwrap().since.is_some());
    assert_eq!(here.report(&ana, off("b")).await.unwrap().since, Some(since), "the second one was refused");
    let ended = there.report(&ana, off("a")).await.unwrap();
    assert_eq!(ended.since, None);
    let still = Report::StillOnAir { publisher: Publisher::new("a") };
    assert_eq!(here.report(&ana, still).await.unwrap(), ended, "a late report of a publisher that has ended");
    let seen = here.changes(Some(seen.newest)).await.unwrap().changes;
    assert_eq!(seen.iter().filter(|change| change.channel == ana).collect::<Vec<_>>(), [&ended]);
    assert!(seen.windows(2).all(|pair| pair[0].number < pair[1].number), "in order: {seen:?}");
    assert_eq!(on_air(here).await.0.len(), 1, "channels off air are not listed");

    // A number that this store has not given yet.
    let foreign = here.changes(Some(u64::MAX / 2)).await.unwrap();
    assert!(foreign.is_whole && foreign.changes.iter().any(|change| change.channel == bob));

    // Reports from all sides: every node reads all changes, each once, in the same order.
    let before = on_air(here).await.1;
    let crowd = (0..60).map(|nth| {
        let (node, one) = (if nth % 2 == 0 { here } else { there }, channel(&format!("{name}-{}", nth % 20)));
        async move { node.report(&one, if nth < 40 { on("") } else { off("") }).await.unwrap() }
    });
    futures::future::join_all(crowd).await;
    let changes = here.changes(Some(before)).await.unwrap();
    let mut numbers: Vec<_> = changes.changes.iter().map(|change| change.number).collect();
    assert_eq!(changes.changes.len(), 20);
    assert!(numbers.is_sorted() && changes.newest >= *numbers.last().unwrap());
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
    assert_eq!(there.changes(Some(before)).await.unwrap().changes, changes.changes);

    // Silence, by the clock of the database.
    here.report(&eva, on("e")).await.unwrap();
    here.end_silent(Duration::from_secs(3_600)).await.unwrap();
    assert!(on_air(here).await.0.iter().any(|change| change.channel == eva), "it was just reported");
    sleep(Duration::from_millis(300)).await;
    here.report(&eva, on("e")).await.unwrap();
    there.end_silent(Duration::from_millis(200)).await.unwrap();
    let (left, newest) = on_air(here).await;
    assert!(left.iter().all(|change| change.channel == eva), "the others were silent: {left:?}");
    here.forget_ended(Duration::from_secs(3_600)).await.unwrap();
    let remembered = here.changes(Some(before)).await.unwrap().changes;
    assert!(remembered.iter().any(|change| change.channel == bob && change.since.is_none()));
    sleep(Duration::from_millis(50)).await;
    here.forget_ended(Duration::ZERO).await.unwrap();
    let remembered = there.changes(Some(before)).await.unwrap();
    assert!(remembered.changes.iter().all(|change| change.since.is_some()), "{remembered:?}");
    assert!(remembered.newest >= newest, "numbers are never given again");
    here.report(&eva, off("")).await.unwrap();
}

fn database_config(url: &str) -> DatabaseConfig {
    let Config { database, .. } = config::read(["aforo", &format!("--database-url={url}")]).unwrap();
    database
}

/// The live signals of one node in a database.
async fn node(config: &DatabaseConfig) -> Arc<DatabaseSignals> {
    let signals = Arc::new(DatabaseSignals::new(Database::open(config).await.unwrap()));
    let running = Arc::clone(&signals);
    tokio::spawn(async move { running.run().await });
    signals
}

/// Two nodes follow the contract, keep their data, and follow the contract again over data that exist.
async fn check_database(config: &DatabaseConfig) {
    let open = async || node(config).await;
    check_contract([&*open().await, &*open().await], "one").await;
    open().await.report(&channel("kept"), on("")).await.unwrap();
    let kept = open().await.changes(None).await.unwrap().changes;
    assert!(kept.iter().any(|change| change.channel == channel("kept")), "{kept:?}");
    check_contract([&*open().await, &*open().await], "two").await;
}

#[tokio::test]
async fn sqlite_follows_the_contract_and_keeps_its_data() {
    let folder = TempDir::new().unwrap();
    check_database(&DatabaseConfig::Sqlite(folder.path().join("aforo.db"))).await;
}

#[tokio::test]
async fn postgres_follows_the_contract_and_keeps_its_data() {
    check_database(&database_config(&Postgres::shared().await.database().await)).await;
}

#[tokio::test]
async fn reports_from_two_nodes_at_once_have_one_order_in_postgres() {
    let config = database_config(&Postgres::shared().await.database().await);
    let [here, there] = [node(&config).await, node(&config).await];
    let names: Vec<_> = (0..40).map(|nth| channel(&format!("c{nth}"))).collect();
    // Reads while reports are written never miss a change with a smaller number.
    let written = async {
        for round in 0..10 {
            let report = if round % 2 == 0 { on("") } else { off("") };
            let reports = names.iter().enumerate().map(|(nth, name)| {
                if nth % 2 == 0 {
                    here.report(name, report.clone())
                } else {
                    there.report(name, report.clone())
                }
            });
            futures::future::try_join_all(reports).await.unwrap();
        }
    };
    let read = async {
        let (mut seen, mut after) = (BTreeMap::new(), here.changes(None).await.unwrap().newest);
        loop {
            let news = here.changes(Some(after)).await.unwrap();
            for change in news.changes {
                assert!(change.number > after, "{change:?} after {after}");
                seen.insert(change.channel, (change.number, change.since));
            }
            after = news.newest;
            // The last round ends all broadcasts.
            let ended = seen.values().filter(|(_, since)| since.is_none()).count();
            if ended == names.len() && after >= 400 {
                return seen;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let ((), seen) =
        tokio::join!(written, async { timeout(PATIENCE, read).await.expect("all changes are read") });
    let whole = there.changes(Some(0)).await.unwrap().changes;
    let whole: BTreeMap<_, _> = whole.into_iter().map(|one| (one.channel, (one.number, one.since))).collect();
    assert_eq!(seen, whole, "what was read in pieces is what is stored");
}

#[tokio::test]
async fn a_read_of_many_changes_is_complete() {
    let folder = TempDir::new().unwrap();
    let store = node(&DatabaseConfig::Sqlite(folder.path().join("aforo.db"))).await;
    let names: Vec<_> = (0..2_500).map(|nth| channel(&format!("c{nth}"))).collect();
    for part in names.chunks(500) {
        futures::future::join_all(part.iter().map(|name| store.report(name, on("")))).await;
    }
    for after in [None, Some(0)] {
        assert_eq!(store.changes(after).await.unwrap().changes.len(), 2_500);
    }
    // Silent signals end in steps.
    sleep(Duration::from_millis(20)).await;
    for left in [1_500, 500, 0, 0] {
        store.end_silent(Duration::from_millis(1)).await.unwrap();
        assert_eq!(store.changes(None).await.unwrap().changes.len(), left);
    }
    assert_eq!(store.changes(Some(0)).await.unwrap().changes.len(), 2_500, "all ends are changes");
}
