//! The calls of video servers, with bodies as each of them sends.

use super::*;

#[tokio::test]
async fn the_hooks_of_each_video_server_put_channels_on_air() {
    let app = app_with(&[]).await;
    let ok = |body: &str| (StatusCode::OK, body.to_owned());
    let is_live = async |name: &str| count(&app, name).await["live"] == true;

    let nginx = |call: &str| {
        format!(
            "app=live&flashver=FMLE/3.0&swfurl=&tcurl=rtmp://127.0.0.1/live&pageurl=&addr=192.0.2.7&clientid=3&call={call}"
        )
    };
    assert_eq!(hook(&app, "nginx-rtmp", nginx("publish&name=Nina&type=live")).await, ok("{}"));
    assert!(is_live("nina").await);
    // A second encoder, which nginx-rtmp refuses after it has asked.
    let second = nginx("publish&name=nina&type=live").replace("clientid=3", "clientid=4");
    assert_eq!(hook(&app, "nginx-rtmp", second.clone()).await, ok("{}"));
    assert_eq!(hook(&app, "nginx-rtmp", second.replace("call=publish", "call=publish_done")).await, ok("{}"));
    assert!(is_live("nina").await, "the first encoder goes on");
    assert_eq!(hook(&app, "nginx-rtmp", nginx("publish_done&name=nina")).await, ok("{}"));
    // An update that the end has overtaken.
    assert_eq!(hook(&app, "nginx-rtmp", nginx("update_publish&name=nina")).await, ok("{}"));
    assert!(!is_live("nina").await);

    let srs = |action: &str| {
        json!({
            "server_id": "vid-0xk989d", "service_id": "382k319p", "action": action, "client_id": "341w361a",
            "ip": "127.0.0.1", "vhost": "__defaultVhost__", "app": "live",
            "tcUrl": "rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__", "stream": "livestream", "param": "",
            "stream_url": "video.test.com/live/livestream", "stream_id": "vid-124q9y3"
        })
    };
    assert_eq!(hook(&app, "srs", srs("on_publish").to_string()).await, ok("0"));
    assert!(is_live("livestream").await);
    assert_eq!(hook(&app, "srs", srs("on_play").to_string()).await, ok("0"));
    // A connection may publish again.
    for _ in 0..2 {
        assert_eq!(hook(&app, "srs", srs("on_unpublish").to_string()).await, ok("0"));
        assert!(!is_live("livestream").await);
        assert_eq!(hook(&app, "srs", srs("on_publish").to_string()).await, ok("0"));
        assert!(is_live("livestream").await);
    }
    assert_eq!(hook(&app, "srs", srs("on_unpublish").to_string()).await, ok("0"));

    let mediamtx =
        |event: &str| format!("event={event}&path=mia&source_id=4f4d5a5e-6c1f-4d6a-a0a5-6b8f0f2f8c11");
    assert_eq!(hook(&app, "mediamtx", mediamtx("ready")).await, ok("{}"));
    assert!(is_live("mia").await);
    assert_eq!(hook(&app, "mediamtx", mediamtx("not-ready")).await, ok("{}"));
    assert!(!is_live("mia").await);

    let ome = |direction: &str, status: &str| {
        json!({
            "client": {"address": "211.233.58.86", "port": 29291, "user_agent": "Mozilla/5.0"},
            "request": {
                "direction": direction, "protocol": "rtmp", "status": status,
                "url": "rtmp://host:1935/app/olga?query=value&query2=value2", "time": "2021-05-12T13:45:00.000Z"
            }
        })
    };
    assert_eq!(hook(&app, "ome", ome("outgoing", "opening").to_string()).await, ok(r#"{"allowed":true}"#));
    assert!(!is_live("olga").await, "who plays puts nothing on air");
    assert_eq!(hook(&app, "ome", ome("incoming", "opening").to_string()).await, ok(r#"{"allowed":true}"#));
    assert!(is_live("olga").await);
    assert_eq!(hook(&app, "ome", ome("incoming", "closing").to_string()).await, ok("{}"));
    assert!(!is_live("olga").await);

    // Bodies that are not a call, and names that are no channel.
    for server in ["nginx-rtmp", "srs", "mediamtx", "ome"] {
        let (status, body) = hook(&app, server, "nonsense".to_owned()).await;
        assert!(status == StatusCode::BAD_REQUEST && body.contains("\"malformed\""), "{server}: {body}");
        assert_eq!(hook(&app, server, " ".repeat(17_000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (status, body) = hook(&app, "nginx-rtmp", nginx("publish&name=live/ana&type=live")).await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("\"invalid-channel\""), "{body}");
}

#[tokio::test]
async fn a_hook_may_have_its_secret_as_a_bearer_token_or_a_signature() {
    let app = app_with(&[]).await;
    let url = |server: &str| format!("{}/api/hooks/{server}", app.base);
    let form = "event=ready&path=mia";
    let sent = app.client.post(url("mediamtx")).bearer_auth(SECRET).body(form).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    assert_eq!(count(&app, "mia").await["live"], true);

    // OvenMediaEngine signs the body. Its user agents and addresses can be long.
    let body = json!({
        "client": {"address": "192.0.2.7", "port": 1, "user_agent": "x".repeat(6_000)},
        "request": {"direction": "incoming", "status": "opening", "url": "srt://host:9999/app/olga"}
    })
    .to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE.encode(hmac::sign(&key, body.as_bytes()));
    let send = async |signature: &str, body: &str| {
        let request = app.client.post(url("ome")).header("X-OME-Signature", signature).body(body.to_owned());
        request.send().await.unwrap().status()
    };
    for wrong in ["", "AAAA", "!", &signature.to_lowercase(), &signature[1..]] {
        assert_eq!(send(wrong, &body).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(send(&signature, &format!("{body} ")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(count(&app, "olga").await["live"], false);
    assert_eq!(send(&signature, &body).await, StatusCode::OK);
    assert_eq!(send(signature.trim_end_matches('='), &body).await, StatusCode::OK);
    assert_eq!(count(&app, "olga").await["live"], true);
    // Without a signature it is no other server's call.
    let unsigned =
        app.client.post(url("srs")).header("X-OME-Signature", &signature).body(body.clone()).send();
    assert_eq!(unsigned.await.unwrap().status(), StatusCode::BAD_REQUEST);
}
