use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use leptos::prelude::*;

use super::{
    Channel, after_hydration,
    shared_stream::{ChannelUpdate, Subscription, subscribe},
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
    /// Calls back at every event on the stream, ticks included. Defaults to no callback.
    #[must_use]
    pub fn on_event(self, on_event: impl Fn() + 'static) -> Self {
        Self { on_event: Some(Local::new(|| Rc::new(on_event) as Rc<dyn Fn()>)), ..self }
    }

    /// Whether to keep listening while the page is hidden, for pages that send due beats when an event arrives. Has an
    /// effect only where tabs can share a stream. Defaults to `false`.
    #[must_use]
    pub fn while_hidden(self, while_hidden: bool) -> Self {
        Self { while_hidden, ..self }
    }
}

/// The return value of [`use_viewer_count`].
#[derive(Debug, Clone, Copy)]
pub struct UseViewerCountReturn {
    /// The count: the initial count at first, then the latest count from the server. It is stale while the page can't
    /// tell that the count is current, and unknown after a minute without confirmation. Without an initial count, and
    /// after the channel changes, it is unknown until the first count arrives.
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
///     view! { <b>{move || count.get().value()}</b> }
/// }
/// # let owner = Owner::new(); owner.set();
/// # let _ = view! { <Number channel=ChannelId::parse("ana").unwrap() /> };
/// ```
///
/// `channel` is a [`ChannelId`] or a signal of one. When it changes, the stream follows. `initial` is the count of the
/// first channel, if known.
///
/// The stream is opened after hydration. After a break, a minute of silence or sleep it is reopened after a pause with
/// jitter, without a limit on retries. The page has one stream, and all tabs of the browser share one where they can.
/// The stream is closed when the page goes away or is hidden, and when the last component that uses it is disposed of.
/// While no stream works, a visible page requests the count every 8 to 12 seconds.
///
/// ## Server-Side Rendering
/// The count is the initial count, or unknown. No stream is opened.
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

/// [`use_viewer_count_with_options`], for fixed channels too.
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
            subscription: RefCell::default(),
            last: Cell::new(initial),
            set_count,
            on_event: options.on_event,
        })
    });
    after_hydration({
        let reader = reader.clone();
        Box::new(move || {
            if let Some(reader) = reader.get() {
                reader.subscribe();
            }
        })
    });
    channel.on_change({
        let reader = reader.clone();
        move |channel| {
            if let Some(reader) = reader.get() {
                reader.switch_channel(channel);
            }
        }
    });
    on_cleanup(move || {
        if let Some(reader) = reader.get() {
            reader.subscription.take();
        }
    });
    UseViewerCountReturn { count }
}

/// The count of a channel before its first count arrives.
const UNKNOWN: Count = Count::unknown(Timestamp::from_millis(0));

/// Shows the count of one channel.
struct Reader {
    /// The initial channel.
    channel: String,
    while_hidden: bool,
    subscription: RefCell<Option<Rc<Subscription>>>,
    /// The last count from the server.
    last: Cell<Count>,
    set_count: WriteSignal<Count>,
    on_event: Option<Local<dyn Fn()>>,
}

impl Reader {
    /// Switches to another channel, whose count is unknown.
    fn switch_channel(&self, channel: String) {
        self.last.set(UNKNOWN);
        let subscription = self.subscription.borrow().clone();
        if let Some(subscription) = subscription {
            subscription.switch_channel(channel);
        }
    }

    fn subscribe(self: &Rc<Self>) {
        let reader = Rc::downgrade(self);
        let callback = move |update, state| {
            if let Some(reader) = reader.upgrade() {
                reader.on(update, state);
            }
        };
        self.subscription.replace(Some(subscribe(
            self.channel.clone(),
            self.while_hidden,
            Box::new(callback),
        )));
    }

    fn on(&self, update: ChannelUpdate, state: CountState) {
        match update {
            ChannelUpdate::CountMessage(message) => self.last.set(message.count),
            ChannelUpdate::State => {}
            ChannelUpdate::KeepAlive => {
                if let Some(on_event) = self.on_event.as_ref().and_then(Local::get) {
                    on_event();
                }
                return;
            }
        }
        let last = self.last.get();
        self.show(match state {
            CountState::Live => last,
            CountState::Stale => last.into_stale(),
            CountState::Unknown => Count::unknown(last.as_of()),
        });
    }

    fn show(&self, count: Count) {
        self.set_count.try_maybe_update(|shown| {
            let has_changed = *shown != count;
            *shown = count;
            (has_changed, ())
        });
    }
}
