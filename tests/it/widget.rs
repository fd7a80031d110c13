//! The element for other sites: how it is served, and that it is small.

use std::fs;

use crate::support::TestApp;

/// What a page that is not ours has to load for it, at most, in bytes.
const BUDGET: usize = 2_048;

#[test]
fn it_is_small() {
    // `make test` has built it.
    for form in ["br", "gz"] {
        let path = format!("target/site/widget.js.{form}");
        let size =
            fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; `make site` builds it")).len();
        assert!(size <= BUDGET, "{path} has {size} bytes, and {BUDGET} are the budget");
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
