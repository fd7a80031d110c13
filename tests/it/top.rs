//! `aforo top`: in a real terminal (tmux), and as text.

use std::{
    fs,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpListener, task::spawn_blocking, time::sleep};

use crate::support::{PATIENCE, RedisServer, TestApp, free_port, viewer};

/// A terminal with the program in it. Dropping it ends the terminal.
struct Screen {
    /// Each terminal has a server of tmux of its own.
    folder: TempDir,
}

impl Screen {
    /// Opens a terminal of this size, and runs the program in it. When the program has ended, the terminal shows its exit
    /// status.
    fn open(width: u32, height: u32, settings: &str, arguments: &str) -> Self {
        let screen = Self { folder: TempDir::new().unwrap() };
        let program = env!("CARGO_BIN_EXE_aforo");
        let line = format!("{settings} {program} top {arguments}; echo ended with $?; exec sleep 600");
        let (width, height) = (width.to_string(), height.to_string());
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "sh",
            "-c",
            &line,
        ]);
        screen
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let Output { status, stdout, stderr } = Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(socket)
            .args(arguments)
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// What is on the screen, with the codes of colors and weight if `has_codes`.
    fn text(&self, has_codes: bool) -> String {
        let codes: &[&str] = if has_codes { &["-e"] } else { &[] };
        self.tmux(&[&["capture-pane", "-p"], codes].concat())
    }

    /// Waits until the screen is as expected. Returns it.
    async fn wait(&self, what: &str, is_expected: impl Fn(&str) -> bool) -> String {
        let start = std::time::Instant::now();
        loop {
            let text = self.text(false);
            if is_expected(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "{what}:\n{text}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn wait_for(&self, expected: &str) -> String {
        self.wait(expected, |text| text.contains(expected)).await
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let socket = self.folder.path().join("tmux");
        // Fails if the terminal has ended.
        let _ended = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

/// Whether a screen has a code that chooses a color. 39 and 49 are those of the terminal's own.
fn has_colors(codes: &str) -> bool {
    codes.split("\u{1b}[").skip(1).any(|code| {
        let code = code.split('m').next().unwrap();
        code.split(';').any(|number| matches!(number.parse(), Ok(30_u8..=38 | 40..=48 | 90..=107)))
    })
}

/// Runs the program without a terminal.
async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    command.arg("top").args(arguments).env_clear().stdin(Stdio::null());
    let Output { status, stdout, stderr } = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_channel_appears_on_the_screen_and_q_ends_it() {
    let app = TestApp::start().await;
    let screen = Screen::open(80, 24, "", &app.base);
    screen.wait_for("no live channels").await;
    for _ in 0..3 {
        app.join("ana", viewer()).await;
    }
    app.join("bob", viewer()).await;
    let has_ana = |text: &str| text.lines().any(|line| line.starts_with("ana ") && line.contains(" 3 "));
    let text = screen.wait("ana with 3 viewers", has_ana).await;
    assert!(text.contains("viewers 4  channels 2"), "{text}");
    assert!(text.lines().next().unwrap().ends_with("  ok"), "{text}");
    assert!(has_colors(&screen.text(true)), "{:?}", screen.text(true));
    let is_first = |name: &'static str| {
        move |text: &str| {
            let rows = text.lines().skip_while(|line| !line.starts_with("CHANNEL")).skip(1);
            rows.take(1).any(|line| line.starts_with(name))
        }
    };
    app.join("aaa", viewer()).await;
    screen.wait("most viewers first", is_first("ana ")).await;
    screen.press("s");
    screen.wait_for("s sort: change").await;
    screen.press("s");
    screen.wait("by name", is_first("aaa ")).await;
    // A smaller terminal keeps the list.
    screen.tmux(&["resize-window", "-x", "40", "-y", "12"]);
    screen.wait("a small screen", |text| text.lines().any(|line| line.starts_with("bob "))).await;
    screen.press("q");
    let text = screen.wait_for("ended with 0").await;
    assert!(!text.contains("CHANNEL"), "the screen is as it was before: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_the_node_is_away_and_sees_it_return() {
    let addr = format!("127.0.0.1:{}", free_port());
    let screen = Screen::open(100, 24, "NO_COLOR=1", &format!("http://{addr}"));
    screen.wait_for("AWAY for").await;
    screen.wait_for("no connection; trying again").await;
    let app = TestApp::with(&["--site-addr", &addr]).await;
    app.join("ana", viewer()).await;
    screen.wait("ana", |text| text.lines().any(|line| line.starts_with("ana "))).await;
    let codes = screen.text(true);
    assert!(!has_colors(&codes), "{codes:?}");
    app.stop().await;
    screen.wait("the last count", |text| text.contains("AWAY for") && text.contains("  stale")).await;
    screen.press("C-c");
    screen.wait_for("ended with 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let app = TestApp::start().await;
    let screen = Screen::open(80, 24, "", &app.base);
    screen.wait_for("no live channels").await;
    let shell = screen.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let shell = shell.trim();
    let program = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    assert!(Command::new("kill").args(["-s", "TERM", program.trim()]).status().unwrap().success());
    let text = screen.wait_for("ended with 0").await;
    assert!(!text.contains("CHANNEL"), "{text}");
    assert_eq!(screen.tmux(&["display-message", "-p", "#{alternate_on}"]).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_prints_one_text_and_ends() {
    let redis = RedisServer::start().await;
    let app = TestApp::with_redis(&redis).await;
    app.join("ana", viewer()).await;
    for arguments in [&[&*app.base][..], &["--once", &app.base]] {
        let (code, text, errors) = run(arguments).await;
        assert_eq!((code, &*errors), (Some(0), ""), "{text}");
        assert!(text.starts_with(&format!("aforo top {}  ok\n", app.base)), "{text}");
        assert!(text.contains("\nviewers 1  channels 1  streams 0"), "{text}");
        assert!(text.contains("\nstore up  calls/s "), "{text}");
        assert!(text.lines().any(|line| line.starts_with("ana ") && line.ends_with("live")), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rates_are_those_of_the_node() {
    let app = TestApp::start().await;
    let calls = async {
        loop {
            app.count("ana").await;
            app.get("/api/viewer/counts?channels=a,b,c").await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    let arguments = [&*app.base];
    let (_, text, _) = tokio::select! {
        () = calls => unreachable!("it goes on"),
        printed = run(&arguments) => printed,
    };
    let line = text.lines().find(|line| line.starts_with("joins/s ")).expect("rates");
    let rate = line.split("counts/s ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(rate.replace(',', "").parse::<f64>().unwrap() > 0.0, "{line}");
    assert!(line.starts_with("joins/s 0  heartbeats/s 0  leaves/s 0  "), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_aforo_or_away_is_an_error() {
    let (code, text, errors) = run(&[&format!("http://ops:hunter2@127.0.0.1:{}", free_port())]).await;
    assert_eq!((code, &*text), (Some(1), ""));
    assert!(errors.contains("no connection") && !errors.contains("hunter2"), "{errors}");
    // It sends without end.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let endless = tokio::spawn(async move {
        let endless = axum::Router::new().fallback(async || {
            let junk = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
            let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(junk.clone()));
            axum::body::Body::from_stream(chunks)
        });
        axum::serve(listener, endless).await
    });
    let (code, _, errors) = run(&[&format!("http://{addr}")]).await;
    endless.abort();
    assert_eq!(code, Some(1));
    assert!(errors.contains("the answer is not one of Aforo"), "{errors}");
    for wrong in ["ftp://node.example", "node.example:3000", "http://node.example/?a=b"] {
        let (code, _, errors) = run(&[wrong]).await;
        assert_eq!(code, Some(2), "{wrong}");
        assert!(errors.contains("not an address such as"), "{errors}");
    }
}

/// It shows another node, so invalid settings of a server do not matter.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_settings_of_a_server_do_not_matter() {
    let app = TestApp::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    command.args(["top", "--once", &app.base]).env("VIEWER_TIMEOUT", "abc").env("REDIS_URL", "nonsense");
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_ends_it() {
    let app = TestApp::start().await;
    let screen = Screen::open(80, 24, "exec", &app.base);
    screen.wait_for("no live channels").await;
    let pid = screen.tmux(&["list-panes", "-F", "#{pane_pid}"]);
    let is_running = || {
        let command = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        command.contains("top")
    };
    assert!(is_running());
    drop(screen);
    let start = std::time::Instant::now();
    while is_running() {
        assert!(start.elapsed() < PATIENCE, "it goes on without a terminal");
        sleep(Duration::from_millis(100)).await;
    }
}
