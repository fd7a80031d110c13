//! Sessions that a ticket has begun: what renews them without one, and what a stranger can do with their ids.

use std::time::Duration;

use futures::{StreamExt, future::join_all, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::{Builder, Uuid};

use super::{claims, forbidden, heartbeat, joined, node, refusal, refusal_of, sign, ticket_of, with};
use crate::support::{PATIENCE, RedisServer, viewer};

#[tokio::test]
async fn a_session_that_is_not_counted_needs_the_ticket_again() {
    let short = ["--heartbeat-interval=100", "--timeout=1", "--hidden-timeout=1"];
    let app = node("require", &short).await;
    let page = joined(&app, &ticket_of("user-7")).await;
    let gone = async {
        while app.count("ana").await > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the lease ends");
    assert_eq!(refusal_of(&app, "heartbeat", &page).await, forbidden("ticket-required"));
    assert_eq!(app.count("ana").await, 0);
    let expired = with(page.clone(), "ticket", sign(&with(claims("user-7"), "exp", 1_000)));
    assert_eq!(refusal_of(&app, "heartbeat", &expired).await, forbidden("ticket-expired"));
    let shown = with(page.clone(), "ticket", ticket_of("user-7"));
    assert_eq!(heartbeat(&app, &shown).await["active"], true);
    app.post("/api/viewer/leave", &page).await;
    assert_eq!(app.count("ana").await, 0);
}

#[tokio::test]
async fn who_learns_the_id_of_a_viewer_with_a_ticket_can_do_nothing_with_it() {
    for mode in ["accept", "require"] {
        let app = node(mode, &[]).await;
        let page = joined(&app, &ticket_of("user-7")).await;
        let id = &page["viewerId"];
        for ids in [
            json!({"channelId": "ana", "viewerId": id}),
            json!({"channelId": "ana", "viewerId": id, "sessionId": viewer()}),
            json!({"channelId": "bob", "viewerId": id, "sessionId": page["sessionId"]}),
        ] {
            for call in ["join", "heartbeat"] {
                assert_eq!(refusal_of(&app, call, &ids).await, forbidden("ticket-required"), "{call} {ids}");
            }
            assert_eq!(app.post("/api/viewer/leave", &ids).await.status(), StatusCode::OK);
        }
        // A stranger's own ticket does not help either.
        let ids = json!({"channelId": "ana", "viewerId": id, "ticket": ticket_of("user-8")});
        let stranger: Value = app.post("/api/viewer/join", &ids).await.json().await.unwrap();
        assert_ne!(&stranger["viewerId"], id);
        assert_eq!(app.count("ana").await, 2, "{mode}");
        assert_eq!(app.count("bob").await, 0, "{mode}");
        assert_eq!(heartbeat(&app, &page).await["active"], true);
    }
}

/// Redis keeps ids in a shorter form.
#[tokio::test]
async fn no_id_without_a_ticket_is_taken_for_an_account_in_redis() {
    let redis = RedisServer::start().await;
    let app = node("accept", &["--redis-url", &redis.url()]).await;
    let page = joined(&app, &ticket_of("user-7")).await;
    let account: Uuid = page["viewerId"].as_str().unwrap().parse().unwrap();
    let mut aliases = Vec::new();
    for bit in [0, 1] {
        let mut id = account.into_bytes();
        let version_4 = 0x40 | (id[6] & 0xf);
        id[7] ^= id[6] ^ version_4 ^ (bit << 7);
        (id[6], id[0]) = (version_4, id[0] ^ bit);
        aliases.push(json!({"channelId": "ana", "viewerId": Uuid::from_bytes(id), "sessionId": viewer()}));
    }
    for alias in &aliases {
        for _ in 0..20 {
            let mut page = alias.clone();
            page["sessionId"] = json!(viewer());
            assert_eq!(app.post("/api/viewer/join", &page).await.status(), StatusCode::OK);
        }
    }
    assert_eq!(app.count("ana").await, 2, "these are one viewer, besides the account");
    for alias in &aliases {
        app.post("/api/viewer/join", alias).await;
        app.post("/api/viewer/leave", alias).await;
    }
    assert_eq!(heartbeat(&app, &page).await["active"], true);
}

#[tokio::test]
async fn sessions_of_clients_without_session_ids_are_secret_too() {
    let app = node("require", &[]).await;
    let (own, ticket) = (viewer(), ticket_of("user-7"));
    let first = json!({"channelId": "ana", "viewerId": own, "ticket": ticket});
    let first: Value = app.post("/api/viewer/join", &first).await.json().await.unwrap();
    assert_eq!(first["sessionId"], json!(own), "the browser's own id is its session");
    let account = &first["viewerId"];
    // An account's id may be known to others, so it is never a session.
    for ids in [
        json!({"channelId": "ana", "ticket": ticket}),
        json!({"channelId": "ana", "viewerId": account, "ticket": ticket}),
        json!({"channelId": "ana", "viewerId": viewer(), "sessionId": account, "ticket": ticket}),
    ] {
        let answer: Value = app.post("/api/viewer/join", &ids).await.json().await.unwrap();
        assert_eq!(&answer["viewerId"], account, "{ids}");
        assert_ne!(&answer["sessionId"], account, "{ids}");
        heartbeat(&app, &json!({"channelId": "ana", "viewerId": account, "sessionId": answer["sessionId"]}))
            .await;
    }
    assert_eq!(app.count("ana").await, 1);
}

#[tokio::test]
async fn a_session_that_a_heartbeat_starts_is_secret_too() {
    for of in ["its viewer id", "its session id"] {
        let app = node("require", &[]).await;
        let ticket = ticket_of("user-7");
        let joined = app.post("/api/viewer/join", &json!({"channelId": "ana", "ticket": ticket})).await;
        let joined: Value = joined.json().await.unwrap();
        let account = &joined["viewerId"];
        let page = if of == "its viewer id" {
            json!({"channelId": "ana", "viewerId": account, "ticket": ticket})
        } else {
            json!({"channelId": "ana", "viewerId": viewer(), "sessionId": account, "ticket": ticket})
        };
        assert_eq!(heartbeat(&app, &page).await["active"], true, "{of}");
        for session in [&joined["sessionId"], account] {
            let leave = json!({"channelId": "ana", "viewerId": account, "sessionId": session});
            assert_eq!(app.post("/api/viewer/leave", &leave).await.status(), StatusCode::OK);
        }
        assert_eq!(app.count("ana").await, 1, "who knows the account cannot end the session, {of}");
    }
}

#[tokio::test]
async fn heartbeats_with_a_ticket_and_without_a_session_id_are_of_one_session() {
    let app = node("require", &["--limit-joins-burst=2", "--limit-joins-per-second=1"]).await;
    let ticket = ticket_of("user-7");
    let joined = app.post("/api/viewer/join", &json!({"channelId": "ana", "ticket": ticket})).await;
    let joined: Value = joined.json().await.unwrap();
    let page = json!({"channelId": "ana", "viewerId": joined["viewerId"], "ticket": ticket});
    for _ in 0..50 {
        // A new session at each would soon be over the limit of new sessions.
        assert_eq!(heartbeat(&app, &page).await["active"], true);
    }
}

#[tokio::test]
async fn a_flood_of_invented_accounts_refuses_no_counted_session_of_the_same_address() {
    const EVERY: usize = 400;
    let redis = RedisServer::start().await;
    let url = redis.url();
    let limits = ["--redis-url", &url, "--limit-joins-burst=100"];
    let old = node("require", &limits).await;
    let mut counted = Vec::new();
    for number in 0..20 {
        counted.push(joined(&old, &ticket_of(&format!("user-{number}"))).await);
    }
    // A node that does not know the sessions.
    let new = node("require", &limits).await;
    let calls = stream::iter(0..counted.len() * EVERY).map(async |nth| {
        let known = (nth % EVERY == EVERY - 1).then(|| counted[nth / EVERY].clone());
        let account = || Builder::from_custom_bytes(*viewer().as_bytes()).into_uuid();
        let invented = || json!({"channelId": "ana", "viewerId": account(), "sessionId": viewer()});
        let (is_known, page) = (known.is_some(), known.unwrap_or_else(invented));
        (is_known, new.post("/api/viewer/heartbeat", &page).await.status())
    });
    let statuses: Vec<_> = calls.buffer_unordered(50).collect().await;
    let expected = |is_known| if is_known { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let wrong = statuses.iter().filter(|(is_known, status)| *status != expected(*is_known));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&(bool, StatusCode)>::new());
    assert_eq!(new.count("ana").await, 20);
}

#[tokio::test]
async fn a_node_that_has_just_started_renews_the_sessions_of_others_without_tickets() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url(), "--limit-joins-burst=100", "--limit-joins-per-second=100"];
    let old = node("require", &flags).await;
    let mut pages = Vec::new();
    for account in 0..50 {
        pages.push(joined(&old, &ticket_of(&format!("user-{account}"))).await);
    }
    old.stop().await;
    let tight = ["--redis-url", &redis.url(), "--limit-joins-burst=1", "--limit-joins-per-second=1"];
    let new = node("require", &tight).await;
    for _ in 0..3 {
        for page in &pages {
            assert_eq!(heartbeat(&new, page).await["active"], true);
        }
    }
    assert_eq!(new.count("ana").await, 50);
}

#[tokio::test]
async fn a_counted_session_is_not_refused_while_the_store_cannot_tell() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-url", &redis.url()];
    let tight = ["--redis-url", &redis.url(), "--limit-joins-burst=1", "--limit-joins-per-second=1"];
    let (one, two) = (node("require", &flags).await, node("require", &flags).await);
    let without = node("off", &tight).await;
    let page = joined(&one, &ticket_of("user-7")).await;
    let mut others = Vec::new();
    for account in 0..20 {
        let other = joined(&one, &ticket_of(&format!("user-{account}"))).await;
        others.push(other);
    }
    let unavailable = (503, "unavailable".to_owned());
    without.heartbeat("ana", viewer()).await;

    redis.pause();
    assert_eq!(refusal_of(&two, "heartbeat", &page).await, unavailable);
    let calls = others.iter().map(async |other| without.post("/api/viewer/heartbeat", other).await.status());
    let statuses = join_all(calls).await;
    let refused = statuses.iter().filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE).count();
    let accepted = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    assert!(refused > 0 && refused + accepted == others.len(), "some are over the limit: {statuses:?}");
    redis.resume();
    let renewed = async {
        while two.post("/api/viewer/heartbeat", &page).await.status() != StatusCode::OK {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("it is still counted");

    // This node knows the channel but not the session.
    let three = node("require", &flags).await;
    three.sse("sse/ana").await.until_fresh(21).await;
    redis.command::<()>("FLUSHALL");
    let response = three.post("/api/viewer/heartbeat", &page).await;
    if response.status() != StatusCode::OK {
        assert_eq!(refusal(response).await, unavailable);
    }
}
