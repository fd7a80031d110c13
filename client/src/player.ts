/**
 * <stream-player src="…/index.m3u8" channel="ana" live="false">: plays a channel's stream, or shows why it can't.
 *
 *   src       the playlist; without it the element only says whether the channel is on air
 *   channel   the channel, if the server has live signals
 *   live      whether the channel is on air, by the live signal: true, false, or missing if that is not known
 *
 * Promises:
 * - Playback starts automatically and muted as soon as the channel is on air, and again after every interruption,
 *   without a reload. What the visitor has paused stays paused, also after an interruption.
 * - `data-state` is `loading`, `playing`, `ready` (a click starts playback), `off-air`, `broken`, `unplayable` or
 *   `no-stream`. The server renders a message for each, and the style sheet shows the message of the current state.
 * - The pauses between attempts grow up to 20 s while the channel is off air, and up to a minute while the stream
 *   fails.
 * - hls.js is loaded only if the browser has no native HLS, or if native playback failed. If it does not load, the attempt
 *   fails, and the next one loads it again.
 * - With live signals there are no attempts while the channel is off air: the event stream says when it comes on air. The
 *   element listens to the stream while it plays nothing. While the stream is dead, attempts go on as without signals.
 */

import { canUseHls, hls, native, playsNatively, type Engine } from "./player/engine.ts";
import { isComplete, readPlaylist, secondsToChange } from "./player/playlist.ts";
import { load } from "./load.ts";
import type { News } from "./rules/relay.ts";
import { State as StreamState } from "./rules/watchdog.ts";

type State = "loading" | "playing" | "ready" | "off-air" | "broken" | "unplayable" | "no-stream";

/** Why playback stopped. */
type End = "ended" | "stalled" | "failed";

/** The interval of checks for stalled playback, in milliseconds. */
const TICK = 1_000;
/** The timeouts for the first frame and for a stalled picture, in milliseconds. */
const TIMEOUTS = { loading: 20_000, playing: 8_000 };
/** The first and the longest pause before the next attempt, in milliseconds. */
const PAUSES = { loading: [1_000, 10_000], "off-air": [5_000, 20_000], broken: [2_000, 60_000] } as const;
/** The number of seconds of playback after which the pauses start again from the shortest. */
const PLAYED_WELL = 10;

/** A transparent poster. Without a poster, a video that has no frame yet covers the messages behind it. */
const TRANSPARENT = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

class StreamPlayer extends HTMLElement {
  #video = document.createElement("video");
  #engine: Engine | undefined;
  /** Whether native playback of the stream failed. */
  #nativeFailed = false;
  /** The playlist when playback stopped. There is nothing new to play until the playlist changes. */
  #playedPlaylist: string | undefined;
  /** Attempts since the stream last played for `PLAYED_WELL` seconds. */
  #attempts = 0;
  #next: ReturnType<typeof setTimeout> | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;
  /** Whether the channel is on air, by the live signal; `undefined` if that is not known. */
  #isOnAir: boolean | undefined;
  /** Ends listening to the live signal. */
  #endListening: (() => void) | undefined;
  /** Whether the visitor has paused the video. */
  #isPaused = false;
  /** The last progress: its time, the playback position, and the seconds played so far. */
  #progress = { at: 0, position: 0, ticks: 0 };

  connectedCallback(): void {
    const video = this.#video;
    video.className = "player__video";
    video.controls = video.muted = video.playsInline = true;
    video.poster = TRANSPARENT;
    video.setAttribute("aria-label", this.getAttribute("aria-label") ?? "");
    video.addEventListener("canplay", this.#start);
    video.addEventListener("play", this.#resumed);
    video.addEventListener("pause", this.#paused);
    video.addEventListener("playing", this.#playing);
    video.addEventListener("ended", this.#ended);
    this.append(video);
    this.addEventListener("click", this.#clicked);
    addEventListener("online", this.#retryNow);
    document.addEventListener("visibilitychange", this.#retryNow);
    this.#ticker = setInterval(() => this.#tick(), TICK);
    const live = this.getAttribute("live");
    this.#isOnAir = live === null ? undefined : live === "true";
    this.#show(this.#isOnAir === false ? "off-air" : "loading");
    this.#listen();
    void this.#check();
  }

  disconnectedCallback(): void {
    clearTimeout(this.#next);
    clearInterval(this.#ticker);
    removeEventListener("online", this.#retryNow);
    document.removeEventListener("visibilitychange", this.#retryNow);
    this.#endListening?.();
    this.#stop();
    this.#video.remove();
  }

  /** Listens to the live signal, if the server has one. */
  #listen(): void {
    const channel = this.getAttribute("channel");
    if (!channel || this.#endListening) return;
    let isOver = false;
    let end: (() => void) | undefined;
    this.#endListening = () => {
      isOver = true;
      end?.();
      this.#endListening = undefined;
    };
    const update = (news: News | undefined, state: StreamState) => {
      if (state === StreamState.Unknown) this.#signal(undefined);
      else if (news && news.live !== null) this.#signal(news.live);
    };
    void load<typeof import("./stream.ts")>("./stream.js").then(({ watch }) => {
      if (!isOver) end = watch({ channel, needed: false, update });
    });
  }

  /** The live signal has changed, or is no longer known. What plays, plays to its end. */
  #signal(isOnAir: boolean | undefined): void {
    if (isOnAir === this.#isOnAir) return;
    this.#isOnAir = isOnAir;
    if (this.#engine && this.#state !== "loading") return;
    if (isOnAir === false) this.#stop();
    if (isOnAir) {
      this.#attempts = 0;
      this.#show("loading");
    }
    void this.#check();
  }

  /** Reads the playlist, then plays it or waits. `end`: why playback stopped, if it did. */
  async #check(end?: End): Promise<void> {
    clearTimeout(this.#next);
    this.#next = undefined;
    if (this.#isOnAir === false) {
      this.#show("off-air");
      if (!end) return;
    }
    if (!this.hasAttribute("src")) return this.#show("no-stream");
    if (!playsNatively(this.#video) && !canUseHls()) return this.#show("unplayable");
    const playlist = await readPlaylist(this.#url);
    if (!this.isConnected || this.#engine || this.#next) return;
    if (this.#isOnAir === false) {
      if (playlist.kind === "found") this.#playedPlaylist = playlist.text;
      return;
    }
    if (playlist.kind === "absent") {
      this.#playedPlaylist = undefined;
      return this.#waitForStream();
    }
    if (playlist.kind === "failed") {
      // Native playback doesn't need CORS, so it may work although this script can't read the playlist.
      const mayPlay = this.#isNative && this.#attempts === 0 && !end;
      return mayPlay ? this.#play() : this.#wait("broken");
    }
    const { text } = playlist;
    if (!end) {
      return text === this.#playedPlaylist ? this.#waitForStream() : this.#play();
    }
    // Play a failed recording again. Play a live stream again only after its playlist has changed.
    this.#playedPlaylist = end === "failed" && isComplete(text) ? undefined : text;
    if (end === "ended") return this.#waitForStream();
    if (end === "failed") return this.#wait("broken");
    this.#next = setTimeout(() => void this.#check(), 1_000 * secondsToChange(text));
  }

  get #url(): string {
    return new URL(this.getAttribute("src") ?? "", document.baseURI).href;
  }

  get #isNative(): boolean {
    return playsNatively(this.#video) && !this.#nativeFailed;
  }

  #play(): void {
    this.#show("loading");
    this.#progress = { at: performance.now(), position: 0, ticks: 0 };
    this.#engine = (this.#isNative ? native : hls)(this.#video, this.#url, () => this.#end("failed"));
  }

  #start = (): void => {
    if (this.#state !== "loading") return;
    if (this.#isPaused) return this.#show("ready");
    this.#video.play().catch((error: DOMException) => {
      if (error.name === "NotAllowedError") this.#show("ready");
    });
  };

  #resumed = (): void => void (this.#isPaused = false);

  /** A video that ends is paused, too. One that is being loaded or unloaded is not the visitor's. */
  #paused = (): void => {
    if (this.#state === "playing" && !this.#video.ended) this.#isPaused = true;
  };

  #playing = (): void => {
    if (!this.#engine) return;
    this.#show("playing");
    this.#endListening?.();
  };

  #ended = (): void => this.#end("ended");

  #end(reason: End): void {
    if (!this.#engine) return;
    const cause = this.#video.error?.code;
    this.#stop();
    this.#show("loading");
    this.#listen();
    const isUnsupported =
      cause === MediaError.MEDIA_ERR_DECODE || cause === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    if (reason === "failed" && this.#isNative && isUnsupported && canUseHls()) {
      this.#nativeFailed = true;
      void this.#check();
    } else {
      void this.#check(reason);
    }
  }

  #stop(): void {
    this.#engine?.stop();
    this.#engine = undefined;
  }

  /** There is no stream, or nothing new of it. A channel that has just come on air has no stream yet. */
  #waitForStream(): void {
    this.#wait(this.#isOnAir ? "loading" : "off-air");
  }

  /** Shows a state and schedules the next attempt. */
  #wait(state: keyof typeof PAUSES): void {
    this.#show(state);
    const [first, longest] = PAUSES[state];
    const pause = Math.min(first * 1.5 ** this.#attempts, longest);
    this.#attempts += 1;
    this.#next = setTimeout(() => void this.#check(), pause * (0.75 + Math.random() / 4));
  }

  /** Starts the scheduled attempt at once if the page is visible. */
  #retryNow = (): void => {
    if (this.#next && !document.hidden) void this.#check();
  };

  #clicked = (event: Event): void => {
    if ((event.target as Element).closest(".player__retry")) this.#retryNow();
  };

  /** Detects stalled playback. */
  #tick(): void {
    const { currentTime, paused } = this.#video;
    const state = this.#state;
    const shouldPlay =
      this.#engine && !document.hidden && (state === "loading" || (state === "playing" && !paused));
    if (!shouldPlay || currentTime !== this.#progress.position) {
      const ticks = this.#progress.ticks + (shouldPlay ? 1 : 0);
      this.#progress = { at: performance.now(), position: currentTime, ticks };
      if (ticks >= PLAYED_WELL) this.#attempts = 0;
    } else if (performance.now() - this.#progress.at > TIMEOUTS[state]) {
      this.#end("stalled");
    }
  }

  get #state(): State {
    return this.dataset.state as State;
  }

  #show(state: State): void {
    this.dataset.state = state;
  }
}

customElements.define("stream-player", StreamPlayer);
