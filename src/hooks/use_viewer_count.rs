use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::prelude::*;

use super::{
    Channel, after_hydration,
    shared_stream::{Heard, Watching, watch},
};
use crate::{
    domain::{ChannelId, Count, Timestamp, count::CountState},
    platform::Local,
};

/// Options of [`use_viewer_count_with_options`].
#[derive(Clone, Default)]
pub struct UseViewerCountOptions {
    on_event: Option<Local<dyn Fn()>>,
    while_hidden: bool,
}

impl UseViewerCountOptions {
    /// Calls back at every event on the stream, ticks included. Defaults to nothing.
    #[must_use]
    pub fn on_event(self, on_event: impl Fn() + 'static) -> Self {
        Self { on_event: Some(Local::new(|| Rc::new(on_event) as Rc<dyn Fn()>)), ..self }
    }

    /// Whether to listen also while nobody sees the page: for a page that beats on what comes in. It does so where tabs can
    /// share a stream. Defaults to `false`.
    #[must_use]
    pub fn while_hidden(self, while_hidden: bool) -> Self {
        Self { while_hidden, ..self }
    }
}

/// What [`use_viewer_count`] returns.
#[derive(Debug, Clone, Copy)]
pub struct UseViewerCountReturn {
    /// The count: the initial one at first, then what the server says; stale while nothing tells that it is of this moment,
    /// unknown after a minute without news. Without an initial one, and when the channel changes, it is unknown until the
    /// first news.
    pub count: ReadSignal<Count>,
}

/// The count of a channel, kept up to date by its event stream.
///
/// ## Usage
/// ```
/// # use leptos::prelude::*;
/// # use aforo::{domain::ChannelId, hooks::{use_viewer_count, UseViewerCountReturn}};
/// #[component]
/// fn Number(#[prop(into)] channel: Signal<ChannelId>) -> impl IntoView {
///     let UseViewerCountReturn { count } = use_viewer_count(channel, None);
///     view! { <b>{move || count.get().value}</b> }
/// }
/// # let owner = Owner::new(); owner.set();
/// # let _ = view! { <Number channel=ChannelId::parse("ana").unwrap() /> };
/// ```
///
/// `channel` is one, or a signal of one: when it changes, the stream follows. `initial` is the count of the first, if it is
/// known.
///
/// The stream is opened after hydration and reopened for ever, after jittered pauses; also one that has been silent for a
/// minute, or has slept. It is one for the whole page, and for all tabs of the browser where they can share it. It is
/// closed when the page goes away or is hidden, and when the last component does that watches a channel. Where no stream
/// can be had, the page asks for the count every ten seconds or so while somebody sees it.
///
/// ## Server-Side Rendering
/// The count is the initial one, or unknown; nothing is opened.
#[must_use]
pub fn use_viewer_count(
    channel: impl Into<Signal<ChannelId>>,
    initial: Option<Count>,
) -> UseViewerCountReturn {
    use_viewer_count_with_options(channel, initial, UseViewerCountOptions::default())
}

/// [`use_viewer_count`] with options.
#[must_use]
pub fn use_viewer_count_with_options(
    channel: impl Into<Signal<ChannelId>>,
    initial: Option<Count>,
    options: UseViewerCountOptions,
) -> UseViewerCountReturn {
    count_of(channel.into(), initial, options)
}

/// [`use_viewer_count_with_options`], also for a channel that stays.
pub(crate) fn count_of(
    channel: impl Channel,
    initial: Option<Count>,
    options: UseViewerCountOptions,
) -> UseViewerCountReturn {
    let initial = initial.unwrap_or(UNKNOWN);
    let (count, set_count) = signal(initial);
    let reader = Local::new(|| {
        Rc::new(Reader {
            channel: channel.name(),
            while_hidden: options.while_hidden,
            watching: RefCell::default(),
            told: Cell::new(initial),
            set_count,
            on_event: options.on_event,
        })
    });
    after_hydration({
        let reader = reader.clone();
        Box::new(move || {
            if let Some(reader) = reader.get() {
                reader.watch();
            }
        })
    });
    channel.on_change({
        let reader = reader.clone();
        move |channel| {
            if let Some(reader) = reader.get() {
                reader.turn(channel);
            }
        }
    });
    on_cleanup(move || {
        if let Some(reader) = reader.get() {
            reader.watching.take();
        }
    });
    UseViewerCountReturn { count }
}

/// What is shown of a channel that nothing is known of yet.
const UNKNOWN: Count = Count::unknown(Timestamp::from_millis(0));

/// What shows the count of one channel.
struct Reader {
    /// The first one.
    channel: String,
    while_hidden: bool,
    watching: RefCell<Option<Rc<Watching>>>,
    /// What the server has said last.
    told: Cell<Count>,
    set_count: WriteSignal<Count>,
    on_event: Option<Local<dyn Fn()>>,
}

impl Reader {
    /// Goes over to another channel, of which nothing is known.
    fn turn(&self, channel: String) {
        self.told.set(UNKNOWN);
        let watching = self.watching.borrow().clone();
        if let Some(watching) = watching {
            watching.turn(channel);
        }
    }

    fn watch(self: &Rc<Self>) {
        let reader = Rc::downgrade(self);
        let callback = move |heard, state| {
            if let Some(reader) = reader.upgrade() {
                reader.on(heard, state);
            }
        };
        self.watching.replace(Some(watch(self.channel.clone(), self.while_hidden, Box::new(callback))));
    }

    fn on(&self, heard: Heard, state: CountState) {
        match heard {
            Heard::CountMessage(news) => self.told.set(news.count),
            Heard::State => {}
            Heard::KeepAlive => {
                if let Some(on_event) = self.on_event.as_ref().and_then(Local::get) {
                    on_event();
                }
                return;
            }
        }
        let told = self.told.get();
        self.show(match state {
            CountState::Live => told,
            CountState::Stale => Count { stale: true, ..told },
            CountState::Unknown => Count::unknown(told.as_of),
        });
    }

    fn show(&self, count: Count) {
        self.set_count.try_maybe_update(|shown| {
            let is_news = *shown != count;
            *shown = count;
            (is_news, ())
        });
    }
}
