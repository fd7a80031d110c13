//! What follows from a signal: counts, lists, streams, pages, badges and broadcasts.

use super::*;

#[tokio::test]
async fn counts_and_lists_follow_the_signal() {
    let app = app_with(&[]).await;
    for (name, viewers) in [("ana", 1), ("eva", 2), ("invented", 3)] {
        for _ in 0..viewers {
            app.join(name, viewer()).await;
        }
    }
    assert_eq!(listed(&app).await, [], "viewers alone put no channel on the list");
    let invented = count(&app, "invented").await;
    assert_eq!((&invented["count"], &invented["live"]), (&json!(3), &json!(false)), "its count is given");
    for name in ["ana", "zoe", "eva"] {
        set_live(&app, name, true).await;
    }
    let expected = [("eva", 2), ("ana", 1), ("zoe", 0)].map(|(name, count)| (name.to_owned(), json!(count)));
    assert_eq!(listed(&app).await, expected);
    let answer: Value = app.get("/api/viewer/live?limit=1").await.json().await.unwrap();
    assert_eq!(answer["channels"].as_array().unwrap().len(), 1);
    let answer: Value =
        app.get("/api/viewer/counts?channels=ana,invented,nobody").await.json().await.unwrap();
    let lives: Vec<_> =
        answer["counts"].as_array().unwrap().iter().map(|count| count["live"].clone()).collect();
    assert_eq!(lives, [json!(true), json!(false), json!(false)]);
    app.join("zoe", viewer()).await;
    set_live(&app, "eva", false).await;
    let expected = [("ana", 1), ("zoe", 1)].map(|(name, count)| (name.to_owned(), json!(count)));
    assert_eq!(listed(&app).await, expected);
}

#[tokio::test]
async fn streams_say_when_a_channel_comes_on_air() {
    let app = app_with(&[]).await;
    let mut streams = [app.sse("sse/ana").await, app.sse("sse?channels=ana,bob").await];
    for stream in &mut streams {
        assert_eq!(stream.data().await["live"], false);
    }
    assert_eq!(streams[1].data().await["live"], false);
    for live in [true, false, true] {
        set_live(&app, "ana", live).await;
        for stream in &mut streams {
            let data = until_live(stream, &json!(live)).await;
            assert_eq!((&data["channelId"], &data["count"]), (&json!("ana"), &json!(0)));
        }
    }
    app.join("ana", viewer()).await;
    for stream in &mut streams {
        let data = stream.data().await;
        assert_eq!((&data["count"], &data["live"]), (&json!(1), &json!(true)));
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_known_and_signals_are_kept_for_later() {
    let folder = TempDir::new().unwrap();
    let database = format!("--database-url=sqlite:{}/aforo.db", folder.path().display());
    let token = format!("--api-token={TOKEN}");
    let app = TestApp::with(&[&token, &database]).await;
    set_live(&app, "ana", true).await;
    assert_eq!(count(&app, "ana").await["live"], Value::Null);
    assert_eq!(app.sse("sse/ana").await.data().await["live"], Value::Null);
    app.join("bob", viewer()).await;
    let answer: Value = app.get("/api/viewer/live").await.json().await.unwrap();
    let listed = answer["channels"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["channelId"], &listed[0]["live"]), (1, &json!("bob"), &Value::Null));
    assert!(!app.get("/ana").await.text().await.unwrap().contains("stream-player"));
    app.stop().await;
    let app = app_with(&[&database]).await;
    assert_eq!(count(&app, "ana").await["live"], true, "from the first answer on");
    assert_eq!(count(&app, "bob").await["live"], false);
}

#[tokio::test]
async fn pages_say_whether_a_channel_is_on_air() {
    let template = "--stream-url-template=https://cdn.example/{channel}/index.m3u8";
    let app = app_with(&[template]).await;
    let html = async |path: &str| app.get(path).await.text().await.unwrap();
    let home = html("/").await;
    assert!(home.contains("No hay canales en vivo en este momento."), "{home}");
    assert!(!home.contains("Todavía no hay nadie mirando"));
    for path in ["/ana", "/embed/ana?counter=1"] {
        let page = html(path).await;
        let (_, player) = page.split_once("<stream-player").unwrap();
        let (start, rest) = player.split_once('>').unwrap();
        for attribute in
            [r#"channel="ana""#, r#"live="false""#, r#"data-state="off-air""#, "src=\"https://cdn"]
        {
            assert!(start.contains(attribute), "{attribute} in {start}");
        }
        assert!(rest.contains("El canal no está en vivo"));
        let (player, _) = rest.split_once("</stream-player>").unwrap();
        assert!(!player.contains("<noscript>"), "there is nothing to play: {player}");
    }
    set_live(&app, "ana", true).await;
    for path in ["/ana", "/embed/ana?counter=1"] {
        let page = html(path).await;
        let (_, player) = page.split_once("<stream-player").unwrap();
        let (start, _) = player.split_once('>').unwrap();
        assert!(start.contains(r#"live="true""#) && !start.contains("data-state"), "{start}");
        let (player, _) = player.split_once("</stream-player>").unwrap();
        assert!(player.contains("<noscript>"), "{player}");
    }
    app.join("invented", viewer()).await;
    let home = html("/").await;
    assert!(home.contains(r#"href="/ana""#) && !home.contains("invented"), "{home}");
    assert!(home.contains(r#"aria-label="0 espectadores""#), "{home}");
    assert!(html("/eva").await.contains("También en vivo"));

    // A site without streams says it too.
    let app = app_with(&[]).await;
    let page = app.get("/ana").await.text().await.unwrap();
    assert!(page.contains("El canal no está en vivo") && page.contains("/player.js"), "{page}");
    assert!(!page.contains("<video"), "{page}");
}

#[tokio::test]
async fn a_badge_of_a_channel_off_air_is_not_red() {
    let app = app_with(&[]).await;
    for (live, color) in [(false, "#57534e"), (true, "#dc2626")] {
        set_live(&app, "ana", live).await;
        let image = app.get("/badge/ana.svg").await.text().await.unwrap();
        assert!(image.contains(&format!(r#"data-live="{live}""#)) && image.contains(color), "{image}");
        let shield: Value = app.get("/badge/ana.json").await.json().await.unwrap();
        assert_eq!((&shield["color"], &shield["message"]), (&json!(color), &json!("0")));
    }
}

#[tokio::test]
async fn the_end_of_a_signal_ends_a_broadcast_that_nobody_watches() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&[&format!("--database-url=sqlite:{}", file.display())]).await;
    install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    // Whether a node will write the end of the broadcast later.
    let goes_on = async || {
        let seen_by = sqlx::query_scalar("SELECT seen_by FROM broadcasts WHERE channel = 'ana'");
        let seen_by: Option<i64> = seen_by.fetch_optional(&pool).await.unwrap();
        seen_by.map(|node| node != 0)
    };
    set_live(&app, "ana", true).await;
    eventually("the broadcast goes on", async || goes_on().await == Some(true)).await;
    set_live(&app, "ana", false).await;
    eventually("the broadcast has ended", async || goes_on().await == Some(false)).await;
}

#[tokio::test]
async fn a_broadcast_of_a_moment_is_kept() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&["--stats=public", &format!("--database-url=sqlite:{}", file.display())]).await;
    let broadcasts = async |name: &str| {
        let body: Value = app.get(&format!("/api/channel/{name}/broadcasts")).await.json().await.unwrap();
        body["broadcasts"].as_array().unwrap().len()
    };
    // A node that has just started waits until it knows the time of the database and of the store.
    set_live(&app, "bea", true).await;
    eventually("the node records", async || broadcasts("bea").await == 1).await;
    set_live(&app, "ana", true).await;
    set_live(&app, "ana", false).await;
    eventually("the broadcast is there", async || broadcasts("ana").await == 1).await;
}

#[tokio::test]
async fn a_broadcast_lasts_as_long_as_its_signal_and_has_those_who_waited_for_it() {
    const VIEWERS: usize = 20;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("aforo.db");
    let app = app_with(&["--stats=public", &format!("--database-url=sqlite:{}", file.display())]).await;
    install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let ids: Vec<_> = (0..VIEWERS).map(|_| viewer()).collect();
    for id in &ids {
        app.join("ana", *id).await;
    }
    // One more, who goes before the signal.
    let gone = viewer();
    app.join("ana", gone).await;
    app.leave("ana", gone).await;
    // The highest count is known by the second.
    sleep(Duration::from_millis(1_100)).await;
    let present = async || {
        let body: Value = app.get("/api/channel/ana/broadcasts").await.json().await.unwrap();
        body["broadcasts"][0].clone()
    };
    set_live(&app, "ana", true).await;
    // Nobody beats any more.
    eventually("the broadcast is there", async || present().await["watchSeconds"].as_f64() > Some(0.0)).await;
    let figures = present().await;
    assert_eq!((&figures["uniques"], &figures["peak"]), (&json!(VIEWERS), &json!(VIEWERS)), "{figures}");
    set_live(&app, "ana", false).await;
    let end = async || {
        let ended = "SELECT last_on_air FROM broadcasts WHERE channel = 'ana' AND seen_by = 0";
        sqlx::query_scalar::<_, i64>(ended).fetch_optional(&pool).await.unwrap()
    };
    eventually("the broadcast has ended", async || end().await.is_some()).await;
    let off_since = "SELECT since FROM signals WHERE channel = 'ana' AND on_air = 0";
    let signal: i64 = sqlx::query_scalar(off_since).fetch_one(&pool).await.unwrap();
    assert_eq!(end().await, Some(signal), "the end of the signal, to the millisecond");
    eventually("the row of the last second is written", async || {
        let figures = present().await;
        let from = figures["startedAt"].as_i64().unwrap();
        let expected = (VIEWERS as i64 * (signal - from)) as f64 / 1_000.0;
        let average = figures["average"].as_f64().unwrap();
        assert!(average <= VIEWERS as f64, "{figures}");
        (figures["watchSeconds"].as_f64().unwrap() - expected).abs() < 1e-6
    })
    .await;
}
