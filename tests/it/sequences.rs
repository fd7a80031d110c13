//! Records test sequences for the tracker and the relay, which are implemented twice: in Rust for the islands, and in
//! `client/src` for scripts without WebAssembly. A sequence lists events of a page, their times and the expected
//! commands. The tests of `client/` replay the sequences, so that both implementations behave the same.
//!
//! After a change of the rules, run `AFORO_RECORD=1 bash scripts/cargo.sh test --test it sequences` and review the
//! diff.

use std::{env, fmt::Write as _, fs, path::Path};

use aforo::browser::{
    TabSync, Tracker,
    tab_sync::{self, CountMessage},
    tracker,
};
use aforo::domain::count::CountState;

const SEQUENCES: u64 = 60;
const STEPS: usize = 50;

/// The first instant, in ms. Large enough to stay positive when the clock is set back.
const START: f64 = 10_000_000.0;

#[test]
fn the_recorded_sequences_of_the_relay_are_current() {
    compare("relay.json", &record(relay_sequence));
}

#[test]
fn the_recorded_sequences_of_the_tracker_are_current() {
    compare("tracker.json", &record(tracker_sequence));
}

#[test]
fn the_sequences_contain_every_event_and_command() {
    let relay = record(relay_sequence);
    for event in [
        "watching", "seen", "closed", "granted", "taken", "said", "count", "tick", "broken", "answered",
        "told", "online", "offline", "woken",
    ] {
        assert!(relay.matches(&format!(r#","{event}","#)).count() > 20, "{event}");
    }
    for command in ["open", "close", "lead", "resign", "say", "ask", "count", "show", "wake"] {
        assert!(relay.matches(&format!(r#"["{command}""#)).count() > 20, "{command}");
    }
    for state in ["live", "stale", "unknown"] {
        assert!(relay.matches(&format!(r#","{state}","#)).count() > 20, "{state}");
    }
    let tracker = record(tracker_sequence);
    for event in [
        "opened",
        "seen",
        "woken",
        "online",
        "answered",
        "failed",
        "refused",
        "ticket",
        "unloading",
        "closed",
    ] {
        assert!(tracker.matches(&format!(r#","{event}","#)).count() > 20, "{event}");
    }
    for command in ["join", "heartbeat", "leave"] {
        assert!(tracker.matches(&format!(r#""{command}""#)).count() > 20, "{command}");
    }
    for command in ["join", "heartbeat"] {
        for ticket in [true, false] {
            let written = [true, false].map(|hidden| format!(r#"["{command}",{hidden},{ticket}]"#));
            let count: usize = written.iter().map(|written| tracker.matches(written).count()).sum();
            assert!(count > 20, "{command} {ticket}: {count}");
        }
    }
}

fn compare(file: &str, current: &str) {
    let path = Path::new("tests/sequences").join(file);
    if env::var_os("AFORO_RECORD").is_some() {
        fs::write(&path, current).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    assert!(recorded == current, "{} is outdated; AFORO_RECORD=1 records it again", path.display());
}

/// All sequences as JSON: an array of sequences, each an array of steps, one per line.
fn record(sequence: fn(&mut Random) -> Vec<String>) -> String {
    let sequences: Vec<_> =
        (1..=SEQUENCES).map(|seed| format!("[\n{}\n]", sequence(&mut Random(seed)).join(",\n"))).collect();
    format!("[\n{}\n]\n", sequences.join(",\n"))
}

/// `SplitMix64` with a fixed seed: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn is(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A number from 0 to 1 that Rust and JavaScript write the same.
    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(1_025)).unwrap()) / 1_024.0
    }

    /// The next time: often when a timer fires, sometimes an hour later, rarely earlier than now.
    fn pass(&mut self, now: f64, wait: Option<f64>) -> f64 {
        let passes = [0.0, 7.0, 250.0, 1_000.0, 3_000.0, 9_000.0, 13_000.0, 25_000.0, 31_000.0, 61_000.0];
        match self.below(40) {
            0 => now - 5_000.0,
            1 => now + 3_600_000.0,
            2..=15 => now + wait.unwrap_or(1_000.0),
            _ => now + self.of(&passes),
        }
    }
}

fn relay_sequence(random: &mut Random) -> Vec<String> {
    let mut relay = TabSync::new("me".to_owned());
    let mut steps = Vec::new();
    let mut now = START;
    // The expected next events: the browser grants the lock, or the server responds.
    let mut expected = vec![watching(random)];
    for _ in 0..STEPS {
        let event = if !expected.is_empty() && random.below(4) > 0 {
            expected.remove(0)
        } else {
            any_relay_event(random)
        };
        if !matches!(event, tab_sync::Event::Granted) {
            now = random.pass(now, relay.wait(now));
        }
        let unit = random.unit();
        let written = write_relay_event(&event);
        let todo = relay.on(event, now, unit);
        for command in &todo {
            match command {
                tab_sync::Command::Lead { .. } if random.below(3) > 0 => {
                    expected.push(tab_sync::Event::Granted);
                }
                tab_sync::Command::Lead { .. } => expected.push(tab_sync::Event::Said("here".to_owned())),
                tab_sync::Command::Open(channels) => {
                    expected.extend(channels.iter().map(|channel| {
                        tab_sync::Event::Count(format!("{channel} {} live 1", random.below(100)))
                    }));
                }
                tab_sync::Command::Ask => expected.push(tab_sync::Event::Answered(random.is())),
                tab_sync::Command::Count(channels) if random.below(4) > 0 => {
                    let counts: Vec<_> =
                        channels.iter().map(|channel| format!("{channel} 7 live 0")).collect();
                    expected.push(tab_sync::Event::Told(counts.join(",")));
                }
                tab_sync::Command::Count(_) => expected.push(tab_sync::Event::Answered(false)),
                _ => {}
            }
        }
        let state = match relay.state(now) {
            CountState::Live => "live",
            CountState::Stale => "stale",
            CountState::Unknown => "unknown",
        };
        let todo: Vec<_> = todo.iter().map(write_relay_command).collect();
        steps.push(format!(
            r#"[{now},{unit},{written},"{state}",{},[{}]]"#,
            write_wait(relay.wait(now)),
            todo.join(",")
        ));
    }
    steps
}

fn watching(random: &mut Random) -> tab_sync::Event {
    let choices: [&[&str]; 6] = [&["ana"], &["ana"], &["ana", "eva"], &["eva", "Bad name"], &["leo"], &[]];
    tab_sync::Event::Watching {
        channels: random.of(&choices).iter().map(ToString::to_string).collect(),
        shares: random.below(5) > 0,
        hidden: random.below(4) == 0,
        needed: random.is(),
    }
}

fn any_relay_event(random: &mut Random) -> tab_sync::Event {
    use tab_sync::Event;
    let words = [
        "want you ana",
        "want you eva,leo",
        "want other ana,../x,",
        "want",
        "bye you",
        "ask",
        "here",
        "here",
        "broke",
        "tick",
        "lead you ana,luz",
        "lead other eva",
        "lead",
        "news ana 12 live 5",
        "news ana 12 live 5 on",
        "news eva - stale 5",
        "news ana x live 5",
        "junk",
        "",
    ];
    let counts = [
        "ana 3 live 1",
        "ana 4 stale 2 on",
        "eva 0 live 3 off",
        "leo - stale 4",
        "ana",
        "ana 5 live 1 2",
        "ana 1.5 live 1",
        "ana +5 live 1",
        "ana 5 old 1",
        "ana 5 live 1 up",
        "ana 5 live 1 on off",
        "",
        "<h1>Bad gateway</h1>",
    ];
    let told = [
        "ana 7 live 0",
        "ana 8 live 0 on,eva 2 stale 0 off",
        "leo 1 live 0",
        "eva - stale 0,ana - stale 0",
        "junk",
        "",
    ];
    match random.below(32) {
        0..=1 => watching(random),
        2..=5 => Event::Seen { hidden: random.is() },
        6 => Event::Closed,
        7 => Event::Granted,
        8 => Event::Taken,
        9..=13 => Event::Said(random.of(&words).to_owned()),
        14..=15 => Event::Count(random.of(&counts).to_owned()),
        16..=17 => Event::Tick,
        18..=19 => Event::Broken,
        20 => Event::Answered(random.is()),
        21..=22 => Event::Told(random.of(&told).to_owned()),
        23 => Event::Online,
        24 => Event::Offline,
        _ => Event::Woken,
    }
}

fn write_relay_event(event: &tab_sync::Event) -> String {
    use tab_sync::Event;
    match event {
        Event::Watching { channels, shares, hidden, needed } => format!(
            r#""watching",{{"channels":{channels:?},"shares":{shares},"hidden":{hidden},"needed":{needed}}}"#
        ),
        Event::Seen { hidden } => format!(r#""seen",{hidden}"#),
        Event::Closed => r#""closed",null"#.to_owned(),
        Event::Granted => r#""granted",null"#.to_owned(),
        Event::Taken => r#""taken",null"#.to_owned(),
        Event::Said(text) => format!(r#""said",{text:?}"#),
        Event::Count(text) => format!(r#""count",{text:?}"#),
        Event::Tick => r#""tick",null"#.to_owned(),
        Event::Broken => r#""broken",null"#.to_owned(),
        Event::Answered(answered) => format!(r#""answered",{answered}"#),
        Event::Told(text) => format!(r#""told",{text:?}"#),
        Event::Online => r#""online",null"#.to_owned(),
        Event::Offline => r#""offline",null"#.to_owned(),
        Event::Woken => r#""woken",null"#.to_owned(),
    }
}

fn write_relay_command(command: &tab_sync::Command) -> String {
    use tab_sync::Command;
    match command {
        Command::Open(channels) => format!(r#"["open",{channels:?}]"#),
        Command::Close => r#"["close"]"#.to_owned(),
        Command::Lead { steal } => format!(r#"["lead",{steal}]"#),
        Command::Resign => r#"["resign"]"#.to_owned(),
        Command::Broadcast(text) => format!(r#"["say",{text:?}]"#),
        Command::Ask => r#"["ask"]"#.to_owned(),
        Command::Count(channels) => format!(r#"["count",{channels:?}]"#),
        Command::Show(CountMessage { channel, count, live }) => {
            let value = count.value().map_or_else(|| "null".to_owned(), |value| value.to_string());
            let live = live.map_or_else(|| "null".to_owned(), |live| live.to_string());
            let stale = count.is_stale();
            format!(r#"["show",{{"channel":{channel:?},"count":{value},"stale":{stale},"live":{live}}}]"#)
        }
        Command::Wake => r#"["wake"]"#.to_owned(),
    }
}

fn tracker_sequence(random: &mut Random) -> Vec<String> {
    use tracker::{Command, Event};
    let mut tracker = Tracker::new(30_000.0);
    let mut steps = Vec::new();
    let mut now = START;
    let mut is_under_way = false;
    for step in 0..STEPS {
        let event = match random.below(28) {
            _ if step == 0 && random.is() => Event::Ticket,
            _ if step < 2 => Event::Opened { hidden: random.is() },
            0 => Event::Opened { hidden: random.is() },
            1..=5 => Event::Seen { hidden: random.is() },
            6 => Event::Closed,
            7 => Event::Online,
            8 => Event::Unloading,
            9..=15 if is_under_way => {
                let interval = random.of(&[None, None, Some(30_000.0), Some(1_000.0)]);
                Event::Answered { active: random.below(6) > 0, interval }
            }
            16..=18 if is_under_way => {
                Event::Failed { retry_after: random.of(&[0.0, 0.0, 5_000.0, 3_600_000.0]) }
            }
            24..=26 if is_under_way => Event::Refused { wants_ticket: random.below(4) > 0 },
            27 => Event::Ticket,
            _ => Event::Woken,
        };
        now = random.pass(now, tracker.wait(now));
        let unit = random.unit();
        let written = write_tracker_event(event);
        let command = match tracker.on(event, now, unit) {
            None => "null".to_owned(),
            Some(Command::Join { hidden, ticket }) => format!(r#"["join",{hidden},{ticket}]"#),
            Some(Command::Heartbeat { hidden, ticket }) => format!(r#"["heartbeat",{hidden},{ticket}]"#),
            Some(Command::Leave) => r#"["leave"]"#.to_owned(),
        };
        is_under_way = match event {
            Event::Answered { .. } | Event::Failed { .. } | Event::Refused { .. } => command != "null",
            Event::Unloading | Event::Closed => is_under_way && command == "null",
            _ => is_under_way || command != "null",
        };
        let wait = write_wait(tracker.wait(now));
        steps.push(format!("[{now},{unit},{written},{wait},{command}]"));
    }
    steps
}

fn write_tracker_event(event: tracker::Event) -> String {
    use tracker::Event;
    match event {
        Event::Opened { hidden } => format!(r#""opened",{hidden}"#),
        Event::Seen { hidden } => format!(r#""seen",{hidden}"#),
        Event::Woken => r#""woken",null"#.to_owned(),
        Event::Online => r#""online",null"#.to_owned(),
        Event::Answered { active, interval } => {
            let mut answer = format!(r#""answered",{{"active":{active}"#);
            if let Some(interval) = interval {
                let _ = write!(answer, r#","interval":{interval}"#);
            }
            answer + "}"
        }
        Event::Failed { retry_after } => format!(r#""failed",{retry_after}"#),
        Event::Refused { wants_ticket } => format!(r#""refused",{wants_ticket}"#),
        Event::Ticket => r#""ticket",null"#.to_owned(),
        Event::Unloading => r#""unloading",null"#.to_owned(),
        Event::Closed => r#""closed",null"#.to_owned(),
    }
}

fn write_wait(wait: Option<f64>) -> String {
    wait.map_or_else(|| "null".to_owned(), |wait| wait.to_string())
}
