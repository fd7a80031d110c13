//! The element for other sites: its headers, and the sizes of all scripts.

use std::fs;

use aforo::i18n::{Locale, badge_text::badge_text};

use crate::support::TestApp;

/// The maximum sizes of scripts in bytes, compressed with Brotli.
const BUDGETS: [(&str, usize); 12] = [
    // All that a page loads to show a live number. `widget.hydrate.spec.ts` measures it in a browser.
    ("widget.js", 2_048),
    ("stream.js", 3_300),
    ("track.js", 2_750),
    ("tracker.js", 2_400),
    ("fallback.js", 700),
    ("follow-button.js", 1_100),
    ("live-channels.js", 700),
    ("share.js", 500),
    // hls.js, which only streams need, is a file of its own.
    ("player.js", 2_100),
    // All that the statistics page loads.
    ("stats.js", 4_600),
    ("poll.js", 1_500),
    // With the script in the page (`overlay.spec.ts`) at most 3,000.
    ("overlay.js", 2_500),
];

/// The maximum size of the style sheet of all pages in bytes, compressed with Brotli.
const STYLES_BUDGET: usize = 4_400;

#[test]
fn scripts_are_within_their_budgets_and_import_only_each_other() {
    // `make test` builds the scripts.
    for (name, budget) in BUDGETS {
        let path = format!("target/site/{name}.br");
        let size =
            fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; `make site` builds it")).len();
        assert!(size <= budget, "{path} has {size} bytes, at most {budget} are allowed");
        let script = fs::read_to_string(format!("target/site/{name}")).unwrap();
        for import in script.split("from\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let known = BUDGETS.iter().any(|(known, _)| import == format!("./{known}"));
            assert!(known, "{name} imports {import}");
        }
    }
    for name in ["widget.js", "overlay.js"] {
        assert!(!fs::read_to_string(format!("target/site/{name}")).unwrap().contains("wasm"), "{name}");
    }
    let build = fs::read_to_string("target/site/build.txt").unwrap();
    let styles = fs::read(format!("target/site/pkg/{}/aforo.css.br", build.trim())).unwrap().len();
    assert!(styles <= STYLES_BUDGET, "the styles have {styles} bytes, at most {STYLES_BUDGET} are allowed");
}

#[test]
fn the_element_has_the_words_of_the_pages() {
    let element = fs::read_to_string("client/src/element.ts").unwrap();
    for locale in Locale::ALL {
        let one = locale.viewers_noun(1);
        let plural = locale.viewers_noun(2).strip_prefix(one).unwrap();
        let text = badge_text(locale);
        let words = format!(r#"{}: "{one}|{plural}| ({})|{}","#, locale.as_str(), text.stale, text.unknown);
        assert!(element.contains(&words), "{words}");
    }
}

#[tokio::test]
async fn every_site_may_load_the_element() {
    let app = TestApp::start().await;
    let response = app.get("/widget.js").await;
    assert_eq!(response.headers()["content-type"], "text/javascript");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}
