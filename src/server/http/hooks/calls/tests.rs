use super::*;
use crate::api::Code;

/// What a call reports: the channel, whether it is on air, and the publisher.
fn reported(call: Result<Call, Problem>) -> (String, bool, Option<Publisher>) {
    let (channel, report) = call.unwrap().report.expect("a report");
    match report {
        Report::OnAir { publisher, started_at } => {
            assert_eq!(started_at, None);
            (channel.to_string(), true, publisher)
        }
        Report::StillOnAir { publisher } => (format!("{channel}, still"), true, publisher),
        Report::OffAir { publisher } => (channel.to_string(), false, publisher),
    }
}

fn code(call: Result<Call, Problem>) -> Code {
    call.unwrap_err().code
}

// As Debian's nginx 1.22 with nginx-rtmp 1.2.2 sends them, for ffmpeg.
const NGINX_SESSION: &str = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27.100)&swfurl=&\
                             tcurl=rtmp://127.0.0.1:1935/live&pageurl=&addr=127.0.0.1&clientid=1";

#[test]
fn calls_of_nginx_rtmp() {
    let call = |rest: &str| nginx_rtmp(format!("{NGINX_SESSION}{rest}").as_bytes());
    let (channel, is_on_air, publisher) = reported(call("&call=publish&name=ana&type=live"));
    assert_eq!((&*channel, is_on_air), ("ana", true));
    assert!(publisher.is_some());
    let update = call("&call=update_publish&time=30&timestamp=29966&name=ana");
    assert_eq!(reported(update), ("ana, still".to_owned(), true, publisher.clone()));
    assert_eq!(reported(call("&call=publish_done&name=ana")), ("ana".to_owned(), false, publisher.clone()));
    let other = nginx_rtmp(
        format!("{NGINX_SESSION}&call=publish&name=ana&type=live")
            .replace("clientid=1", "clientid=2")
            .as_bytes(),
    );
    assert_ne!(reported(other).2, publisher);
    assert_eq!(reported(nginx_rtmp(b"call=publish&name=Ana")), ("ana".to_owned(), true, None));
    for ignored in
        ["play&name=ana&start=4294966296&duration=0&reset=0", "play_done&name=ana", "done&name=ana"]
    {
        assert_eq!(call(&format!("&call={ignored}")).unwrap(), Call::ignored("{}"));
    }
    assert_eq!(call("&call=publish&name=ana").unwrap().answer, "{}");
}

#[test]
fn a_publisher_cannot_speak_of_another_stream_of_nginx_rtmp() {
    // nginx-rtmp appends the arguments of `rtmp://…/live/ana?name=eva` to the form.
    for arguments in ["name=eva", "call=publish_done", "clientid=7", "addr=10.0.0.1", "na%6De=eva"] {
        let body = format!("{NGINX_SESSION}&call=publish&name=ana&type=live&{arguments}");
        assert_eq!(code(nginx_rtmp(body.as_bytes())), Code::Malformed, "{arguments}");
    }
    let body = format!("{NGINX_SESSION}&call=publish&name=ana&type=live&key=s3cret&type=x");
    assert!(nginx_rtmp(body.as_bytes()).is_ok(), "other arguments are the publisher's own");
}

#[test]
fn calls_of_srs() {
    // As in the documentation of SRS 6 (https://ossrs.io/lts/en-us/docs/v6/doc/http-callback).
    let call = |action: &str, client: &str| {
        srs(format!(
            r#"{{"server_id": "vid-0xk989d", "service_id": "382k319p", "action": "{action}", "client_id": {client},
            "ip": "127.0.0.1", "vhost": "__defaultVhost__", "app": "live",
            "tcUrl": "rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__", "stream": "livestream", "param": "",
            "stream_url": "video.test.com/live/livestream", "stream_id": "vid-124q9y3"}}"#
        )
        .as_bytes())
    };
    let (channel, is_on_air, publisher) = reported(call("on_publish", r#""341w361a""#));
    assert_eq!((&*channel, is_on_air), ("livestream", true));
    assert!(publisher.is_some());
    assert_eq!(
        reported(call("on_unpublish", r#""341w361a""#)),
        ("livestream".to_owned(), false, publisher.clone())
    );
    // SRS 2 and 3 have numbers.
    assert_ne!(reported(call("on_publish", "1985")).2, publisher);
    assert_eq!(reported(srs(br#"{"action":"on_publish","stream":"ana"}"#)), ("ana".to_owned(), true, None));
    assert_eq!(call("on_publish", "1").unwrap().answer, "0");
    for ignored in ["on_connect", "on_play", "on_stop", "on_close", "on_dvr", "on_hls"] {
        assert_eq!(call(ignored, "1").unwrap(), Call::ignored("0"));
    }
}

#[test]
fn calls_of_mediamtx() {
    let no_query = Fields::parse(b"secret=s");
    let call = |body: &str| mediamtx(&no_query, body.as_bytes());
    let source = "source_id=4f4d5a5e-6c1f-4d6a-a0a5-6b8f0f2f8c11";
    let (channel, is_on_air, publisher) = reported(call(&format!("event=ready&path=ana&{source}")));
    assert_eq!((&*channel, is_on_air), ("ana", true));
    assert!(publisher.is_some());
    let ended = reported(call(&format!("event=not-ready&path=ana&{source}")));
    assert_eq!(ended, ("ana".to_owned(), false, publisher.clone()));
    let in_query = Fields::parse(format!("secret=s&event=ready&path=ana&{source}").as_bytes());
    assert_eq!(reported(mediamtx(&in_query, b"")), ("ana".to_owned(), true, publisher));
    assert_eq!(code(mediamtx(&in_query, b"path=eva")), Code::Malformed);
    assert_eq!(reported(call("event=ready&path=ana&source_id=")).2, None);
}

#[test]
fn calls_of_ovenmediaengine() {
    // As in its documentation (docs/access-control/admission-webhooks.md).
    let call = |direction: &str, status: &str, url: &str| {
        ome(format!(
            r#"{{"client": {{"address": "211.233.58.86", "port": 29291, "real_ip": "192.0.2.43",
            "user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/110.0.0.0 Safari/537.36"}},
            "request": {{"direction": "{direction}", "protocol": "rtmp", "status": "{status}", "url": "{url}",
            "time": "2021-05-12T13:45:00.000Z"}}}}"#
        )
        .as_bytes())
    };
    let url = "rtmp://live.test:1935/app/ana?policy=eyJ1&signature=aB_-";
    let (channel, is_on_air, publisher) = reported(call("incoming", "opening", url));
    assert_eq!((&*channel, is_on_air), ("ana", true));
    assert!(publisher.is_some());
    assert_eq!(reported(call("incoming", "closing", url)), ("ana".to_owned(), false, publisher));
    assert_eq!(call("incoming", "opening", url).unwrap().answer, r#"{"allowed":true}"#);
    assert_eq!(call("incoming", "closing", url).unwrap().answer, "{}");
    let playlist = "https://live.test:3334/app/ana/llhls.m3u8";
    assert_eq!(call("outgoing", "opening", playlist).unwrap(), Call::ignored(r#"{"allowed":true}"#));
    assert_eq!(call("outgoing", "closing", playlist).unwrap(), Call::ignored("{}"));
    assert_eq!(reported(call("incoming", "opening", "srt://live.test:9999/app/eva")).0, "eva");
    assert_eq!(reported(call("incoming", "opening", "ws://live.test:3333/app/eva?direction=send")).0, "eva");
    for no_stream in ["", "ana", "rtmp://live.test", "rtmp://live.test/app"] {
        assert_eq!(code(call("incoming", "opening", no_stream)), Code::Malformed, "{no_stream}");
    }
    assert_eq!(code(call("incoming", "opening", "rtmp://live.test/app/")), Code::InvalidChannel);
    assert_eq!(code(call("sideways", "opening", url)), Code::Malformed);
    assert_eq!(code(call("incoming", "waiting", url)), Code::Malformed);
}

#[test]
fn invalid_names_are_refused_and_nothing_is_cut_off() {
    let query = Fields::parse(b"");
    for name in ["", "a b", "live/ana", "ana/", "ñandú", "ana%00", &"x".repeat(65)] {
        let form = |field: &str, rest: &str| serde_urlencoded::to_string([(field, name)]).unwrap() + rest;
        assert_eq!(
            code(nginx_rtmp(form("name", "&call=publish").as_bytes())),
            Code::InvalidChannel,
            "{name}"
        );
        let body = form("path", "&event=ready");
        assert_eq!(code(mediamtx(&query, body.as_bytes())), Code::InvalidChannel, "{name}");
        let body = serde_json::json!({"action": "on_publish", "stream": name}).to_string();
        assert_eq!(code(srs(body.as_bytes())), Code::InvalidChannel, "{name}");
    }
    for name in ["ana%20b", "ana%2F", "%61na"] {
        let body = serde_json::json!({
            "request": {"direction": "incoming", "status": "opening", "url": format!("rtmp://h/app/{name}")}
        });
        assert_eq!(code(ome(body.to_string().as_bytes())), Code::InvalidChannel, "{name}");
    }
}

#[test]
fn other_bodies_are_malformed() {
    let query = Fields::parse(b"");
    for body in
        [&b""[..], b"call=publish", b"name=ana", b"call=&name=ana", b"call=stop&name=ana", b"\xff\xfe", b"{}"]
    {
        assert_eq!(code(nginx_rtmp(body)), Code::Malformed, "{body:?}");
    }
    for body in
        [&b""[..], b"{}", b"[]", b"0", br#"{"action":"on_publish"}"#, br#"{"action":"on_fire","stream":"a"}"#]
    {
        assert_eq!(code(srs(body)), Code::Malformed, "{body:?}");
    }
    for body in
        [&b""[..], b"event=ready", b"path=ana", b"event=Ready&path=ana", b"event=ready&event=ready&path=ana"]
    {
        assert_eq!(code(mediamtx(&query, body)), Code::Malformed, "{body:?}");
    }
    for body in [&b""[..], b"{}", b"null", br#"{"request":{}}"#] {
        assert_eq!(code(ome(body)), Code::Malformed, "{body:?}");
    }
}

#[test]
fn only_objects_are_calls_and_no_answer_has_the_name_of_a_type() {
    let name_of_a_type = |text: &str| {
        ["struct", "enum", "tuple", "variant", "Ome", "Srs", "Object"].iter().any(|one| text.contains(one))
    };
    for value in ["null", "[]", "1", "true", "\"x\"", "[\"on_publish\",\"ana\",1,2]", "{}"] {
        for body in [
            value.to_owned(),
            format!(r#"{{"request":{value}}}"#),
            format!(r#"{{"client":{value},"request":{value}}}"#),
            format!(r#"{{"request":{{"direction":{value},"status":"opening","url":"rtmp://h/app/ana"}}}}"#),
            format!(r#"{{"request":{{"direction":"incoming","status":{value},"url":"rtmp://h/app/ana"}}}}"#),
            format!(r#"{{"request":{{"direction":"incoming","status":"opening","url":{value}}}}}"#),
            format!(r#"{{"action":{value},"stream":"ana"}}"#),
            r#"[{},{"direction":"incoming","status":"opening","url":"rtmp://h/app/ana"}]"#.to_owned(),
            r#"{"request":["incoming","opening","rtmp://h/app/ana"]}"#.to_owned(),
            r#"{"client":["127.0.0.1",1],"request":{"direction":"incoming","status":"opening","url":"rtmp://h/a/b"}}"#
                .to_owned(),
            r#"{"request":{"direction":{"incoming":null},"status":"opening","url":"rtmp://h/app/ana"}}"#
                .to_owned(),
        ] {
            for read in [ome as fn(&[u8]) -> Result<Call, Problem>, srs] {
                let problem = read(body.as_bytes()).expect_err(&body);
                assert_eq!(problem.code, Code::Malformed, "{body}");
                let answer = serde_json::to_string(&problem).unwrap();
                assert!(!name_of_a_type(&answer), "{body}: {answer}");
            }
        }
    }
}
