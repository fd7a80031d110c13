//! Following a channel: the endpoint for scripts and forms.

use reqwest::{Client, Response, StatusCode, header, redirect::Policy};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{TestApp, viewer};

const FOLLOW: &str = "/api/channel/follow";

async fn follow(app: &TestApp, body: Value) -> Value {
    let response = app.post(FOLLOW, &body).await;
    assert_eq!(response.status(), StatusCode::OK, "{body}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_script_may_toggle_or_set_following() {
    let app = TestApp::start().await;
    let (one, two) = (viewer(), viewer());
    let toggle = json!({"channelId": "Ana", "viewerId": one});
    let yes = json!({"channelId": "ana", "viewerId": one, "follow": true});
    let no = json!({"channelId": "ana", "viewerId": one, "follow": false});
    let answer = |following: bool, followers: u32| json!({"channelId": "ana", "following": following, "followers": followers});

    assert_eq!(follow(&app, toggle.clone()).await, answer(true, 1));
    assert_eq!(follow(&app, toggle.clone()).await, answer(false, 0));
    for _ in 0..2 {
        assert_eq!(follow(&app, yes.clone()).await, answer(true, 1), "a repeated call changes nothing");
    }
    assert_eq!(
        follow(&app, json!({"channelId": "ana", "viewerId": two, "follow": null})).await,
        answer(true, 2)
    );
    for _ in 0..2 {
        assert_eq!(follow(&app, no.clone()).await, answer(false, 1));
    }
    let count: Value = app.get("/api/channel/followers?channelId=ana").await.json().await.unwrap();
    assert_eq!(count, json!({"channelId": "ana", "followers": 1}));
    assert_eq!(app.count("ana").await, 0, "a follower is not a viewer");
}

#[tokio::test]
async fn followers_survive_a_restart() {
    let data = TempDir::new().unwrap();
    let flag = format!("--data-dir={}", data.path().display());
    let app = TestApp::with(&[&flag]).await;
    follow(&app, json!({"channelId": "ana", "viewerId": viewer(), "follow": true})).await;
    app.stop().await;
    let app = TestApp::with(&[&flag]).await;
    assert_eq!(follow(&app, json!({"channelId": "ana", "viewerId": viewer()})).await["followers"], 2);
}

/// A browser that sends forms and stores cookies.
struct Browser<'a> {
    app: &'a TestApp,
    client: Client,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(app: &'a TestApp) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { app, client, cookie: None }
    }

    async fn send(&mut self, content_type: &str, body: String) -> Response {
        let mut request = self.client.post(format!("{}{FOLLOW}", self.app.base));
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("theme=dark; {cookie}; other=1"));
        }
        let response = request.header(header::CONTENT_TYPE, content_type).body(body).send().await.unwrap();
        if let Some(set) = response.headers().get(header::SET_COOKIE) {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        response
    }

    /// Presses the follow button without JavaScript. Returns the redirect target.
    async fn press(&mut self) -> String {
        let response = self.send("application/x-www-form-urlencoded", "channelId=ana".to_owned()).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert!(response.headers().contains_key("set-cookie"), "every follow lengthens the cookie's life");
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    /// Whether the image on pages without scripts is a filled heart.
    async fn sees_a_filled_heart(&self, channel: &str) -> bool {
        let mut request = self.client.get(format!("{}{FOLLOW}/{channel}/heart.svg", self.app.base));
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "image/svg+xml; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.text().await.unwrap().contains("<path")
    }

    async fn followers(&self) -> u64 {
        let answer: Value = self.app.get("/api/channel/followers?channelId=ana").await.json().await.unwrap();
        answer["followers"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn without_scripts_the_heart_is_what_the_server_knows() {
    let app = TestApp::start().await;
    let (mut one, other) = (Browser::new(&app), Browser::new(&app));
    assert!(!one.sees_a_filled_heart("ana").await);
    one.press().await;
    assert!(one.sees_a_filled_heart("ana").await);
    assert!(!one.sees_a_filled_heart("bob").await);
    assert!(!other.sees_a_filled_heart("ana").await);
    one.press().await;
    assert!(!one.sees_a_filled_heart("ana").await);
}

#[tokio::test]
async fn a_form_toggles_following_and_redirects_to_the_channel() {
    let app = TestApp::start().await;
    let (mut one, mut two) = (Browser::new(&app), Browser::new(&app));
    assert_eq!(one.press().await, "/ana");
    assert_eq!(two.press().await, "/ana");
    assert_eq!(one.followers().await, 2);
    assert_eq!(one.press().await, "/ana");
    assert_eq!(one.followers().await, 1);
}

#[tokio::test]
async fn the_cookie_is_limited_to_this_endpoint_and_hidden_from_scripts() {
    let app = TestApp::start().await;
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let post = async |origin: &str| {
        let request = client.post(format!("{}{FOLLOW}", app.base)).header(header::ORIGIN, origin);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body("channelId=ana").send().await.unwrap()
    };
    let response = post(&app.base).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    for part in ["Path=/api/channel/follow;", "HttpOnly", "SameSite=Lax", "Max-Age=34560000"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "browsers drop it over plain HTTP: {cookie}");
    assert_eq!(response.headers()["location"], "/ana", "the redirect contains no id");
    let response = post(&app.base.replace("http://", "https://")).await;
    assert!(response.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_browser_is_one_follower_with_form_and_script() {
    let app = TestApp::start().await;
    let mut browser = Browser::new(&app);
    let stored = viewer();
    let script = |follow: bool| json!({"channelId": "ana", "viewerId": stored, "follow": follow}).to_string();
    let json = "application/json";

    // First the form, before the script of the page has loaded; then the script.
    browser.press().await;
    let answer: Value = browser.send(json, script(true)).await.json().await.unwrap();
    assert_eq!(answer["followers"], 1, "the id of the script replaces the id of the form");
    // From then on, the form uses the id of the script.
    assert_eq!(browser.press().await, "/ana");
    assert_eq!(browser.followers().await, 0);

    let mut browser = Browser::new(&app);
    browser.press().await;
    let toggle = json!({"channelId": "ana", "viewerId": viewer()}).to_string();
    let answer: Value = browser.send(json, toggle).await.json().await.unwrap();
    assert_eq!(
        (&answer["following"], &answer["followers"]),
        (&json!(false), &json!(0)),
        "the toggle ends following"
    );
}

#[tokio::test]
async fn invalid_calls_are_problems() {
    let app = TestApp::start().await;
    let one = viewer();
    let form = "application/x-www-form-urlencoded";
    let long = format!("channelId=ana&x={}", "x".repeat(5_000));
    for (content_type, body, status, code) in [
        (
            "application/json",
            json!({"channelId": "a b", "viewerId": one}).to_string(),
            400,
            "invalid-channel",
        ),
        (
            "application/json",
            json!({"channelId": "ana", "viewerId": "me"}).to_string(),
            400,
            "invalid-viewer",
        ),
        ("application/json", json!({"channelId": "ana"}).to_string(), 400, "malformed"),
        ("application/json", "[]".to_owned(), 400, "malformed"),
        (
            "application/json",
            json!({"channelId": "ana", "viewerId": one, "follow": 1}).to_string(),
            400,
            "malformed",
        ),
        (form, "channelId=%20".to_owned(), 400, "invalid-channel"),
        (form, "channelId=//evil.test".to_owned(), 400, "invalid-channel"),
        (form, "channelId=ana&channelId=eva".to_owned(), 400, "malformed"),
        (form, "channelId=ana&follow=maybe".to_owned(), 400, "malformed"),
        (form, String::new(), 400, "malformed"),
        (form, long, 413, "body-too-large"),
        (
            "text/plain",
            json!({"channelId": "ana", "viewerId": one}).to_string(),
            415,
            "unsupported-media-type",
        ),
    ] {
        let response = Browser::new(&app).send(content_type, body.clone()).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{body}");
    }
    let response = app.client.delete(format!("{}{FOLLOW}", app.base)).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST,OPTIONS".parse().unwrap())
    );
    let ask = async |channel: &str, viewer: &str| {
        let request =
            app.client.get(format!("{}{FOLLOW}/{channel}", app.base)).header("aforo-viewer", viewer);
        let response = request.send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap()["code"].clone())
    };
    let id = viewer().to_string();
    assert_eq!(ask("a%20b", &id).await, (StatusCode::BAD_REQUEST, json!("invalid-channel")));
    for viewer in ["", "me", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(ask("ana", viewer).await, (StatusCode::BAD_REQUEST, json!("invalid-viewer")), "{viewer}");
    }
    let response = app.get("/api/channel/followers?channelId=a%20b").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(app.get("/api/channel/followers").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_browser_can_read_whether_it_follows_by_id_or_cookie() {
    let app = TestApp::start().await;
    let asked = async |viewer: Option<Uuid>, cookie: Option<&str>| {
        let mut request = app.client.get(format!("{}{FOLLOW}/ana", app.base));
        if let Some(viewer) = viewer {
            request = request.header("aforo-viewer", viewer.to_string());
        }
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        let answer: Value = response.json().await.unwrap();
        (answer["following"].as_bool().unwrap(), answer["followers"].as_u64().unwrap())
    };
    // With the cookie that a form sets.
    let mut browser = Browser::new(&app);
    browser.press().await;
    let cookie = browser.cookie.clone().unwrap();
    assert_eq!(asked(None, Some(&cookie)).await, (true, 1));
    assert_eq!(asked(Some(viewer()), Some(&cookie)).await, (true, 1));
    assert_eq!(asked(None, None).await, (false, 1), "another browser");
    // With the id that a script sends.
    let one = viewer();
    follow(&app, json!({"channelId": "ana", "viewerId": one, "follow": true})).await;
    assert_eq!(asked(Some(one), None).await, (true, 2));
    follow(&app, json!({"channelId": "ana", "viewerId": one, "follow": false})).await;
    assert_eq!(asked(Some(one), None).await, (false, 1));
    browser.press().await;
    assert_eq!(asked(None, Some(&cookie)).await, (false, 0));
}

#[tokio::test]
async fn the_page_has_the_number_of_followers_and_no_visitor_data() {
    let app = TestApp::start().await;
    let mut browser = Browser::new(&app);
    let before = app.get("/ana").await.text().await.unwrap();
    assert!(before.contains(r#"<span class="follow-button__number">0</span>"#), "{before}");
    browser.press().await;
    let cookie = browser.cookie.clone().unwrap();
    let with = app.client.get(format!("{}/ana", app.base)).header(header::COOKIE, &cookie);
    let with = with.send().await.unwrap().text().await.unwrap();
    assert!(with.contains(r#"<span class="follow-button__number">1</span>"#), "{with}");
    assert!(!with.contains("aria-pressed"), "the page does not show whether this visitor follows: {with}");
    assert!(!with.contains(cookie.split_once('=').unwrap().1));
    let without = app.get("/ana").await.text().await.unwrap();
    assert_eq!(with.len(), without.len());
}
