//! The screen of a terminal: draws each sample, and obeys keys until the user or a signal ends it. The terminal is as it
//! was afterwards, also after a panic.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, Receiver, error::TryRecvError},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    INTERVAL,
    node::Node,
    state::{Command, Sample, Top},
    view,
};

/// How long the loop waits for a key before it looks for a new sample.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// How long after a signal the program ends by force. The reader of keys can't end if its terminal is gone.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Shows the node until the user or a signal ends it.
pub(super) fn run(runtime: &Runtime, node: Node, has_color: bool) -> io::Result<()> {
    let top = Top::new(node.name());
    let is_ended = Arc::new(AtomicBool::new(false));
    let (sender, samples) = mpsc::channel(1);
    runtime.spawn(wait_for_signal(Arc::clone(&is_ended)));
    runtime.spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if sender.send(node.sample().await).await.is_err() {
                return;
            }
        }
    });
    let shown =
        ratatui::try_init().and_then(|mut terminal| show(&mut terminal, top, samples, &is_ended, has_color));
    let restored = ratatui::try_restore();
    shown.and(restored)
}

/// Sets the flag at a signal that ends the program, and ends it if it goes on.
async fn wait_for_signal(is_ended: Arc<AtomicBool>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let signals = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let waiting: Vec<_> = signals.map(|mut it| Box::pin(async move { it.recv().await })).collect();
    if waiting.is_empty() {
        return;
    }
    futures::future::select_all(waiting).await;
    is_ended.store(true, Relaxed);
    sleep(END_LIMIT).await;
    let _gone = ratatui::try_restore();
    process::exit(0);
}

fn show(
    terminal: &mut DefaultTerminal,
    mut top: Top,
    mut samples: Receiver<Sample>,
    is_ended: &AtomicBool,
    has_color: bool,
) -> io::Result<()> {
    let start = Instant::now();
    let mut is_changed = true;
    while !is_ended.load(Relaxed) {
        if is_changed {
            terminal.draw(|frame| view::draw(frame, &top, has_color))?;
        }
        is_changed = event::poll(KEY_WAIT)?;
        if is_changed && let Event::Key(key) = event::read()? {
            match meaning(key) {
                Some(Key::Quit) => break,
                Some(Key::Do(command)) => {
                    let size = terminal.size()?;
                    top.obey(command, view::page(&top, size.width, size.height));
                }
                None => {}
            }
        }
        match samples.try_recv() {
            Ok(sample) => {
                top.take(sample, start.elapsed());
                is_changed = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::other("the reader of the node has ended"));
            }
        }
    }
    Ok(())
}

/// What a key means.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Do(Command),
}

fn meaning(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Key::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Do(Command::Up),
        KeyCode::Down | KeyCode::Char('j') => Key::Do(Command::Down),
        KeyCode::PageUp => Key::Do(Command::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Key::Do(Command::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Key::Do(Command::First),
        KeyCode::End | KeyCode::Char('G') => Key::Do(Command::Last),
        KeyCode::Char('s') => Key::Do(Command::Sort),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_meaning() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        let control = |letter| meaning(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!(plain(KeyCode::Char('q')), Some(Key::Quit));
        assert_eq!(control('c'), Some(Key::Quit));
        assert_eq!(plain(KeyCode::Down), Some(Key::Do(Command::Down)));
        assert_eq!(plain(KeyCode::Char('s')), Some(Key::Do(Command::Sort)));
        assert_eq!((plain(KeyCode::Char('c')), control('s'), plain(KeyCode::Tab)), (None, None, None));
        let released =
            KeyEvent { kind: KeyEventKind::Release, ..KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE) };
        assert_eq!(meaning(released), None);
    }
}
