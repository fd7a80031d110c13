//! Real video servers with the configuration of the guide.

use super::*;

/// The block of code in the guide that contains this text.
fn snippet(text: &str) -> &'static str {
    let mut blocks = GUIDE.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(text)).unwrap_or_else(|| panic!("{text} in the guide"));
    block.split_once('\n').unwrap().1
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM also ends the workers of nginx.
        let _ended = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _status = self.0.wait();
    }
}

/// nginx with the RTMP module and the configuration of the guide, which reports to `app`.
async fn nginx_rtmp(app: &TestApp, folder: &TempDir) -> (Process, String) {
    let port = free_port();
    let path = folder.path().display();
    let guide = snippet("on_publish_done")
        .replace("http://127.0.0.1:3000", &app.base)
        .replace("YOUR-SECRET", SECRET)
        .replace("listen 1935", &format!("listen 127.0.0.1:{port}"))
        .replace("/var/www/hls", &format!("{path}/hls"))
        .replace("notify_update_timeout 30s", "notify_update_timeout 500ms");
    assert!(guide.contains(SECRET) && guide.contains(&app.base), "{guide}");
    let conf = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\ndaemon off;\nworker_processes 1;\n\
         pid {path}/pid;\nerror_log {path}/error.log info;\nevents {{}}\nrtmp_auto_push off;\n{guide}"
    );
    fs::write(folder.path().join("nginx.conf"), conf).unwrap();
    let nginx = Command::new("nginx")
        .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed (by `make test`)");
    eventually("nginx listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await;
    (Process(nginx), format!("rtmp://127.0.0.1:{port}/live"))
}

/// Publishes a picture with ffmpeg, in real time.
fn publish(url: &str) -> Process {
    let arguments = "-loglevel error -re -f lavfi -i testsrc=size=160x90:rate=5 -c:v flv -f flv";
    let ffmpeg = Command::new("ffmpeg")
        .args(arguments.split(' '))
        .arg(url)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Process(ffmpeg.expect("ffmpeg is installed (by `make test`)"))
}

#[tokio::test]
async fn a_real_nginx_rtmp_reports_its_publishers() {
    let app = app_with(&[]).await;
    let folder = TempDir::new().unwrap();
    let (_nginx, rtmp) = nginx_rtmp(&app, &folder).await;
    let log = || fs::read_to_string(folder.path().join("error.log")).unwrap();
    let mut stream = app.sse("sse/ana").await;
    assert_eq!(stream.data().await["live"], false);
    for _ in 0..2 {
        let encoder = publish(&format!("{rtmp}/ana"));
        until_live(&mut stream, &json!(true)).await;
        drop(encoder);
        until_live(&mut stream, &json!(false)).await;
    }
    let _encoder = publish(&format!("{rtmp}/ana"));
    until_live(&mut stream, &json!(true)).await;
    // A second encoder under the same name is refused by nginx, and does not end the first one's broadcast. Neither does
    // one that names the stream in its arguments.
    for name in ["ana", "bob?name=ana&call=publish_done"] {
        let mut refused = publish(&format!("{rtmp}/{name}"));
        eventually("the encoder is refused", async || refused.0.try_wait().unwrap().is_some()).await;
    }
    // An invalid name is refused by Aforo.
    let mut refused = publish(&format!("{rtmp}/b+b"));
    eventually("the encoder is refused", async || refused.0.try_wait().unwrap().is_some()).await;
    // Updates repeat the signal, and are accepted: nginx would disconnect the publisher.
    eventually("updates", async || log().matches("notify: update '").count() >= 3).await;
    assert!(!log().contains("update failed"), "{}", log());
    assert_eq!(count(&app, "ana").await["live"], true, "{}", log());
    assert_eq!(listed(&app).await, [("ana".to_owned(), json!(0))]);
}

#[tokio::test]
async fn the_commands_for_mediamtx_report_a_stream() {
    let app = app_with(&[]).await;
    let lines = snippet("runOnNotReady");
    let run = |hook: &str, path: &str| {
        let line = lines.lines().find_map(|line| line.trim().strip_prefix(&format!("{hook}: "))).unwrap();
        let line = line.replace("http://127.0.0.1:3000", &app.base).replace("YOUR-SECRET", SECRET);
        assert!(line.contains(SECRET) && line.contains(&app.base), "{line}");
        // MediaMTX replaces the variables, and splits the line like a shell.
        let line =
            line.replace("$MTX_PATH", path).replace("$MTX_SOURCE_ID", "4f4d5a5e-6c1f-4d6a-a0a5-6b8f0f2f8c11");
        let words = line.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect::<Vec<_>>();
        tokio::task::spawn_blocking(move || Command::new(&words[0]).args(&words[1..]).status().unwrap())
    };
    assert!(run("runOnReady", "ana").await.unwrap().success());
    assert_eq!(count(&app, "ana").await["live"], true);
    assert!(run("runOnNotReady", "ana").await.unwrap().success());
    assert_eq!(count(&app, "ana").await["live"], false);
    assert!(!run("runOnReady", "live/ana").await.unwrap().success(), "the log of MediaMTX shows the failure");
}
