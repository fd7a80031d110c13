//! The call of the operator that puts a channel on air and off air, and the secrets of all calls.

use super::*;

#[tokio::test]
async fn the_operator_puts_a_channel_on_air_and_off_air() {
    let app = app_with(&[]).await;
    let first = signal(&app, "Ana", &json!({"live": true})).await;
    let since = first["startedAt"].as_u64().expect("a start");
    assert_eq!(first, json!({"channelId": "ana", "live": true, "startedAt": since}));
    let again = signal(&app, "ana", &json!({"live": true, "startedAt": since + 5})).await;
    assert_eq!(again, first, "a repetition changes nothing");
    let ended = json!({"channelId": "ana", "live": false, "startedAt": null});
    for _ in 0..2 {
        assert_eq!(signal(&app, "ana", &json!({"live": false})).await, ended);
    }
    let hour_ago = since - 3_600_000;
    let text = jiff::Timestamp::from_millisecond(i64::try_from(hour_ago).unwrap()).unwrap().to_string();
    for (name, start) in [("bob", json!(hour_ago)), ("eva", json!(text))] {
        let answer = signal(&app, name, &json!({"live": true, "startedAt": start, "other": 1})).await;
        assert_eq!(answer["startedAt"], hour_ago);
    }
    // A start before the last end, or days ago, is not the start of this broadcast.
    for start in [hour_ago, 946_684_800_000] {
        let answer = signal(&app, "ana", &json!({"live": true, "startedAt": start})).await;
        assert!(answer["startedAt"].as_u64() >= Some(since), "{answer}");
        set_live(&app, "ana", false).await;
    }
}

#[tokio::test]
async fn calls_without_the_right_secret_are_refused_and_change_nothing() {
    let app = app_with(&[]).await;
    let refused = async |response: Response, what: &str| {
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer", "{what}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], "unauthorized", "{what}");
    };
    let body = json!({"live": true});
    let (basic, hook) = (format!("Basic {TOKEN}"), format!("Bearer {SECRET}"));
    for wrong in [None, Some(TOKEN), Some("Bearer"), Some("Bearer wrong"), Some(&*basic), Some(&*hook)] {
        refused(put(&app, "ana", wrong, &body).await, &format!("{wrong:?}")).await;
    }
    // Before anything else is looked at.
    refused(put(&app, "a%20b", None, &json!("nonsense")).await, "an invalid call").await;
    for server in ["nginx-rtmp", "srs", "mediamtx", "ome"] {
        let path = format!("{}/api/hooks/{server}", app.base);
        for query in
            ["", "?secret=", "?secret=wrong", &format!("?secret={SECRET}x"), &format!("?secret={TOKEN}")]
        {
            let response = app.client.post(format!("{path}{query}")).body("call=publish&name=ana").send();
            refused(response.await.unwrap(), &format!("{server}{query}")).await;
        }
        let twice = format!("{path}?secret={SECRET}&secret={SECRET}");
        refused(app.client.post(twice).send().await.unwrap(), "two secrets").await;
    }
    assert_eq!(count(&app, "ana").await["live"], false);

    // A server without secrets takes no signals.
    let app = TestApp::with(&["--live=signal"]).await;
    refused(put(&app, "ana", Some("Bearer "), &body).await, "no token is set").await;
    refused(
        app.client.post(format!("{}/api/hooks/ome?secret=", app.base)).send().await.unwrap(),
        "no secret",
    )
    .await;
}

#[tokio::test]
async fn invalid_signals_are_problems_and_change_nothing() {
    let app = app_with(&[]).await;
    let bearer = format!("Bearer {TOKEN}");
    let code = async |response: Response| {
        let status = response.status();
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    let bad = |name: &str| (StatusCode::BAD_REQUEST, name.to_owned());
    let live = json!({"live": true});
    assert_eq!(code(put(&app, "a%20b", Some(&bearer), &live).await).await, bad("invalid-channel"));
    assert_eq!(code(put(&app, &"x".repeat(65), Some(&bearer), &live).await).await, bad("invalid-channel"));
    for body in [
        json!({}),
        json!([true]),
        json!({"live": "yes"}),
        json!({"live": null}),
        json!({"live": true, "startedAt": 1_700_000_000}),
        json!({"live": true, "startedAt": "yesterday"}),
        json!({"live": true, "startedAt": -1}),
    ] {
        assert_eq!(code(put(&app, "ana", Some(&bearer), &body).await).await, bad("malformed"), "{body}");
    }
    let long = json!({"live": true, "x": "x".repeat(5_000)});
    let answer = code(put(&app, "ana", Some(&bearer), &long).await).await;
    assert_eq!(answer, (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large".to_owned()));
    let form =
        app.client.put(format!("{}/api/channel/ana/live", app.base)).bearer_auth(TOKEN).body("live=true");
    let answer = code(form.send().await.unwrap()).await;
    assert_eq!(answer, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type".to_owned()));
    let posted = app.post("/api/channel/ana/live", &live).await;
    assert_eq!(
        (posted.status(), &posted.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"PUT".parse().unwrap())
    );
    assert_eq!(app.get("/api/hooks/srs").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(app.post("/api/hooks/wowza", &live).await.status(), StatusCode::NOT_FOUND);
    for name in ["ana", &"x".repeat(64)] {
        assert_eq!(count(&app, name).await["live"], false);
    }
}

#[tokio::test]
async fn wrong_secrets_are_bounded_and_never_lock_out_the_right_one() {
    let app = app_with(&[]).await;
    let body = json!({"live": true});
    let mut limited = None;
    for _ in 0..150 {
        let response = put(&app, "ana", Some("Bearer wrong"), &body).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert!(limited.headers().contains_key("retry-after"));
    assert_eq!(hook(&app, "srs", json!({"action": "on_play"}).to_string()).await.0, StatusCode::OK);
    set_live(&app, "ana", true).await;
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains(r#"aforo_limit_rejections_total{limit="unauthorized"} 1"#), "{metrics}");
    assert!(metrics.contains("aforo_channels_on_air 1\n"), "{metrics}");
}
