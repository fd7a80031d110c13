//! The element for other sites: how it is served, and that it is small.

use std::fs;

use crate::support::TestApp;

/// What the scripts of pages have, at most, in bytes, compressed by brotli: the element, the stream that it shares with
/// other tabs, and what counts, which is loaded when it is asked for.
const BUDGETS: [(&str, usize); 6] = [
    ("widget.js", 2_048),
    ("stream.js", 3_200),
    ("tracker.js", 1_800),
    ("fallback.js", 700),
    ("follow-button.js", 1_100),
    ("live-channels.js", 700),
];

#[test]
fn scripts_are_small_and_load_only_each_other() {
    // `make test` has built them.
    for (name, budget) in BUDGETS {
        let path = format!("target/site/{name}.br");
        let size =
            fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; `make site` builds it")).len();
        assert!(size <= budget, "{path} has {size} bytes, and {budget} are the budget");
        let script = fs::read_to_string(format!("target/site/{name}")).unwrap();
        for import in script.split("from\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let known = BUDGETS.iter().any(|(known, _)| import == format!("./{known}"));
            assert!(known, "{name} loads {import}");
        }
    }
    assert!(!fs::read_to_string("target/site/widget.js").unwrap().contains("wasm"));
}

#[tokio::test]
async fn every_site_may_load_it() {
    let app = TestApp::start().await;
    let response = app.get("/widget.js").await;
    assert_eq!(response.headers()["content-type"], "text/javascript");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}
