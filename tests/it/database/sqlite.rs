//! Faults of SQLite: a killed process, a full disk, a damaged or removed file, and a file that processes share.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use futures::future::join_all;
use reqwest::StatusCode;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    FOLLOW, assert_counting, assert_refused, follow, follows, must_follow, number_on_page, until_ready,
};
use crate::support::{PATIENCE, Program, TestApp, viewer};

/// Starts a process over this file, without a limit of follows.
async fn program(file: &Path) -> Program {
    let url = format!("sqlite:{}", file.display());
    Program::start(&[("DATABASE_URL", &url), ("LIMIT_FOLLOWS_PER_MINUTE", "0")]).await
}

/// Follows 200 channels at `app`, which must succeed.
async fn follow_for_a_while(app: &TestApp) -> Vec<(String, Uuid)> {
    let follows = (0..200).map(async |number| {
        let (channel, viewer) = (format!("d{number}"), viewer());
        must_follow(app, &channel, viewer).await;
        (channel, viewer)
    });
    join_all(follows).await
}

/// Follows channels at `app` until it refuses. Returns the acknowledged follows.
async fn follow_until_the_end(app: &TestApp) -> Vec<(String, Uuid)> {
    let loops = (0..20).map(|number| async move {
        let mut acknowledged = Vec::new();
        loop {
            let (channel, viewer) = (format!("c{}", number % 3), viewer());
            let body = serde_json::json!({"channelId": channel, "viewerId": viewer, "follow": true});
            let response = app.client.post(format!("{}{FOLLOW}", app.base)).json(&body).send().await;
            match response {
                Ok(response) if response.status() == StatusCode::OK => acknowledged.push((channel, viewer)),
                _ => return acknowledged,
            }
        }
    });
    join_all(loops).await.concat()
}

#[tokio::test]
async fn a_killed_process_keeps_every_acknowledged_follow() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let victim = program(&file).await;
    let app = TestApp::at(victim.base.clone());
    let killed = async {
        sleep(Duration::from_millis(700)).await;
        victim.kill();
    };
    let (acknowledged, ()) = tokio::join!(follow_until_the_end(&app), killed);
    assert!(acknowledged.len() > 20, "{} follows before the end", acknowledged.len());
    let restarted = program(&file).await;
    for (channel, viewer) in &acknowledged {
        assert!(follows(&restarted, channel, *viewer).await, "{channel} {viewer}");
    }
}

#[tokio::test]
async fn a_process_that_is_ended_writes_the_follows_that_wait() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let mut ended = program(&file).await;
    let someone = viewer();
    // Another program holds the lock of the file, so the follow waits. Its browser goes away meanwhile.
    let mut blocker = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let lock = blocker.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let body = format!(r#"{{"channelId":"ana","viewerId":"{someone}","follow":true}}"#);
    let head = format!(
        "POST {FOLLOW} HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut browser = TcpStream::connect(ended.base.split_once("//").unwrap().1).await.unwrap();
    browser.write_all((head + &body).as_bytes()).await.unwrap();
    // Time enough to accept it, also on a busy machine.
    sleep(Duration::from_secs(1)).await;
    drop(browser);
    ended.signal("TERM");
    sleep(Duration::from_millis(300)).await;
    lock.rollback().await.unwrap();
    blocker.close().await.unwrap();
    assert!(ended.wait_for_exit().await.success());
    // Everything is in the file itself, so that a copy of it is a backup.
    let log = fs::metadata(folder.path().join("aforo.db-wal"));
    assert!(log.is_err() || log.unwrap().len() == 0, "the log is in the file");
    let restarted = program(&file).await;
    assert!(follows(&restarted, "ana", someone).await);
}

#[tokio::test]
async fn processes_that_start_together_share_a_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let (one, two) = tokio::join!(program(&file), program(&file));
    until_ready(&one, true).await;
    until_ready(&two, true).await;
    let follows = (0..200).map(|number| {
        let app = if number % 2 == 0 { &one } else { &two };
        must_follow(app, "ana", viewer())
    });
    let mut counts = join_all(follows).await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=200).collect::<Vec<_>>());
    assert_eq!(
        (number_on_page(&one, "ana").await, number_on_page(&two, "ana").await),
        ("200".into(), "200".into())
    );
}

#[tokio::test]
async fn a_full_disk_refuses_follows_shows_numbers_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let url = format!("sqlite:{}", file.display());
    let settings = [("DATABASE_URL", &*url), ("LIMIT_FOLLOWS_PER_MINUTE", "0")];
    // The process can't write files beyond 192 KB.
    let full = Program::start_with_file_limit(192, &settings).await;
    must_follow(&full, "ana", viewer()).await;
    let mut acknowledged = Vec::new();
    // SQLite may find room once more when it moves its log into its file, so not every refusal lasts.
    let filled = async {
        loop {
            acknowledged.extend(follow_until_the_end(&full).await);
            if full.get("/readyz").await.status() != StatusCode::OK {
                return;
            }
        }
    };
    timeout(PATIENCE, filled).await.expect("the disk is full");
    assert!(acknowledged.len() > 20, "{} follows fit", acknowledged.len());
    until_ready(&full, false).await;
    assert_counting(&full).await;
    assert_ne!(number_on_page(&full, "ana").await, "—", "reading goes on");
    full.lift_file_limit();
    let recovered = async {
        while follow(&full, "ana", viewer()).await.status() != StatusCode::OK {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, recovered).await.expect("follows are accepted again");
    until_ready(&full, true).await;
    acknowledged.extend(follow_for_a_while(&full).await);
    full.kill();
    let restarted = program(&file).await;
    for (channel, viewer) in &acknowledged {
        assert!(follows(&restarted, channel, *viewer).await, "{channel} {viewer}");
    }
}

#[tokio::test]
async fn damaged_data_is_reported_and_counting_goes_on() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let mut healthy = program(&file).await;
    // Nothing else in the file looks like these names; ids are hexadecimal.
    let channels: Vec<_> = (0..50).map(|number| format!("zz{number}")).collect();
    join_all((0..400).map(|number| must_follow(&healthy, &channels[number % 50], viewer()))).await;
    healthy.signal("TERM");
    assert!(healthy.wait_for_exit().await.success());
    // All pages with followers, which hold the names of channels, are overwritten. The first page describes the tables.
    let pages = OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let mut header = [0; 18];
    pages.read_exact_at(&mut header, 0).unwrap();
    let size = usize::from(u16::from_be_bytes([header[16], header[17]]));
    damage(&pages, size);

    let damaged = program(&file).await;
    let reported = async {
        while follow(&damaged, "zz7", viewer()).await.status() != StatusCode::SERVICE_UNAVAILABLE {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, reported).await.expect("a follow is refused");
    damaged.wait_for_log("is damaged").await;
    assert!(damaged.log().contains("restore a backup"), "{}", damaged.log());
    until_ready(&damaged, false).await;
    assert_counting(&damaged).await;
    assert_eq!(damaged.get("/zz7").await.status(), StatusCode::OK);
}

/// Overwrites every page that holds the name of a channel.
fn damage(mut file: &fs::File, size: usize) {
    let mut page = vec![0; size];
    let mut number: u64 = 1;
    file.seek(SeekFrom::Start(size as u64)).unwrap();
    while file.read_exact(&mut page).is_ok() {
        if page.windows(4).any(|name| name == b"zz7\0" || name == b"zz17" || name == b"zz27") {
            file.write_all_at(&vec![0xa5; size], number * size as u64).unwrap();
        }
        number += 1;
    }
    file.flush().unwrap();
}

#[tokio::test]
async fn a_removed_file_is_noticed_before_follows_are_lost() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = program(&file).await;
    must_follow(&app, "ana", viewer()).await;
    fs::remove_file(&file).unwrap();
    until_ready(&app, false).await;
    app.wait_for_log("removed or replaced").await;
    assert_refused(&app, "ana").await;
    assert_counting(&app).await;
    assert!(!file.exists(), "no new file is created silently");
}

#[tokio::test]
async fn a_file_may_have_any_name_and_others_may_not_read_it() {
    let folder = TempDir::new().unwrap();
    for name in ["a b.db", "50%25.db", "#1.db", "ñandú.db", "A.DB", "a&b=c.db"] {
        let file = folder.path().join("datos de aforo").join(name);
        let app = TestApp::with(&[&format!("--database-url=sqlite:{}", file.display())]).await;
        must_follow(&app, "ana", viewer()).await;
        let mode = fs::metadata(&file).unwrap_or_else(|_| panic!("{name}")).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        app.stop().await;
    }
    assert_eq!(fs::read_dir(folder.path().join("datos de aforo")).unwrap().count(), 6);
}

#[tokio::test]
async fn a_long_lock_by_another_program_delays_no_page() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = program(&file).await;
    must_follow(&app, "ana", viewer()).await;
    let mut blocker = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let lock = blocker.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_refused(&app, "ana").await;
    assert_eq!(number_on_page(&app, "ana").await, "1", "a lock does not hold up readers");
    until_ready(&app, false).await;
    // A process that starts meanwhile waits for the lock, and counts.
    let started = program(&file).await;
    assert_counting(&started).await;
    lock.rollback().await.unwrap();
    until_ready(&app, true).await;
    until_ready(&started, true).await;
    must_follow(&app, "ana", viewer()).await;
    must_follow(&started, "ana", viewer()).await;
}
