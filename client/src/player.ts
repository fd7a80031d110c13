/**
 * <stream-player src="…/index.m3u8">: plays a channel's stream, and says what is the matter while it doesn't.
 *
 * Promises:
 * - It starts by itself, without sound, as soon as the channel is on air, and again after every break, without a reload.
 * - `data-state` is `loading`, `playing`, `ready` (the browser wants a click first), `off-air`, `broken` or `unplayable`.
 *   The server's HTML holds the words for each, and the style sheet shows those of the present one.
 * - A channel that is off air is asked for less and less often, every 20 s at last; a stream that fails, once a minute.
 * - hls.js is loaded only where the browser does not play HLS by itself, or has failed to.
 */

import { canFeed, fed, native, playsNatively, type Engine } from "./player/engine.ts";
import { isComplete, readPlaylist, secondsToChange } from "./player/playlist.ts";

type State = "loading" | "playing" | "ready" | "off-air" | "broken" | "unplayable";

/** Why playback has stopped. */
type End = "ended" | "stalled" | "failed";

/** How often playback is looked after. */
const TICK = 1_000;
/** How long the first picture may take, and how long a picture may stand still. */
const PATIENCE = { loading: 20_000, playing: 8_000 };
/** The first and the longest pause before the next attempt. */
const PAUSES = { "off-air": [5_000, 20_000], broken: [2_000, 60_000] } as const;
/** After so many seconds of playback an earlier failure is forgotten. */
const PLAYED_WELL = 10;

/** Without a poster, browsers paint over what lies behind a video that has no picture. */
const SEE_THROUGH = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";

class StreamPlayer extends HTMLElement {
  #video = document.createElement("video");
  #engine: Engine | undefined;
  /** The browser has failed to play the stream by itself. */
  #mustFeed = false;
  /** The playlist as it was when playback stopped. As long as it stays the same there is nothing new to play. */
  #spent: string | undefined;
  /** Attempts since the stream last played well. */
  #attempts = 0;
  #next: ReturnType<typeof setTimeout> | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;
  /** When playback last moved, to which second, and for how many seconds it has played. */
  #moved = { at: 0, to: 0, ticks: 0 };

  connectedCallback(): void {
    const video = this.#video;
    video.className = "player__video";
    video.controls = video.muted = video.playsInline = true;
    video.poster = SEE_THROUGH;
    video.setAttribute("aria-label", this.getAttribute("aria-label") ?? "");
    video.addEventListener("canplay", this.#start);
    video.addEventListener("playing", this.#playing);
    video.addEventListener("ended", this.#ended);
    this.append(video);
    this.addEventListener("click", this.#clicked);
    addEventListener("online", this.#hurry);
    document.addEventListener("visibilitychange", this.#hurry);
    this.#ticker = setInterval(() => this.#tick(), TICK);
    this.#show("loading");
    void this.#look();
  }

  disconnectedCallback(): void {
    clearTimeout(this.#next);
    clearInterval(this.#ticker);
    removeEventListener("online", this.#hurry);
    document.removeEventListener("visibilitychange", this.#hurry);
    this.#stop();
    this.#video.remove();
  }

  /** Reads the playlist, and does what follows from it and from why playback has stopped, if it has. */
  async #look(end?: End): Promise<void> {
    clearTimeout(this.#next);
    this.#next = undefined;
    if (!playsNatively(this.#video) && !canFeed()) return this.#show("unplayable");
    const playlist = await readPlaylist(this.#url);
    if (!this.isConnected || this.#engine || this.#next) return;
    if (playlist.kind === "absent") {
      this.#spent = undefined;
      return this.#wait("off-air");
    }
    if (playlist.kind === "failed") {
      // A browser may play what no script of this page may read.
      const mayPlay = this.#isNative && this.#attempts === 0 && !end;
      return mayPlay ? this.#play() : this.#wait("broken");
    }
    const { text } = playlist;
    if (!end) {
      return text === this.#spent ? this.#wait("off-air") : this.#play();
    }
    // A recording that fails is played again; a live stream only once it goes on.
    this.#spent = end === "failed" && isComplete(text) ? undefined : text;
    if (end === "ended") return this.#wait("off-air");
    if (end === "failed") return this.#wait("broken");
    this.#next = setTimeout(() => void this.#look(), 1_000 * secondsToChange(text));
  }

  get #url(): string {
    return new URL(this.getAttribute("src") ?? "", document.baseURI).href;
  }

  get #isNative(): boolean {
    return playsNatively(this.#video) && !this.#mustFeed;
  }

  #play(): void {
    this.#show("loading");
    this.#moved = { at: Date.now(), to: 0, ticks: 0 };
    this.#engine = (this.#isNative ? native : fed)(this.#video, this.#url, () => this.#end("failed"));
  }

  #start = (): void => {
    if (this.#state !== "loading") return;
    this.#video.play().catch((error: DOMException) => {
      if (error.name === "NotAllowedError") this.#show("ready");
    });
  };

  #playing = (): void => {
    if (this.#engine) this.#show("playing");
  };

  #ended = (): void => this.#end("ended");

  #end(why: End): void {
    if (!this.#engine) return;
    const cause = this.#video.error?.code;
    this.#stop();
    this.#show("loading");
    const isNotUnderstood =
      cause === MediaError.MEDIA_ERR_DECODE || cause === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    if (why === "failed" && this.#isNative && isNotUnderstood && canFeed()) {
      this.#mustFeed = true;
      void this.#look();
    } else {
      void this.#look(why);
    }
  }

  #stop(): void {
    this.#engine?.stop();
    this.#engine = undefined;
  }

  /** Says why there is nothing to see, and looks again after a while. */
  #wait(state: keyof typeof PAUSES): void {
    this.#show(state);
    const [first, longest] = PAUSES[state];
    const pause = Math.min(first * 1.5 ** this.#attempts, longest);
    this.#attempts += 1;
    this.#next = setTimeout(() => void this.#look(), pause * (0.75 + Math.random() / 4));
  }

  /** Looks at once, if it is waiting and the page is in sight. */
  #hurry = (): void => {
    if (this.#next && !document.hidden) void this.#look();
  };

  #clicked = (event: Event): void => {
    if ((event.target as Element).closest(".player__retry")) this.#hurry();
  };

  /** Notices that playback stands still. */
  #tick(): void {
    const { currentTime, paused } = this.#video;
    const state = this.#state;
    const isDue =
      this.#engine && !document.hidden && (state === "loading" || (state === "playing" && !paused));
    if (!isDue || currentTime !== this.#moved.to) {
      const ticks = this.#moved.ticks + (isDue ? 1 : 0);
      this.#moved = { at: Date.now(), to: currentTime, ticks };
      if (ticks >= PLAYED_WELL) this.#attempts = 0;
    } else if (Date.now() - this.#moved.at > PATIENCE[state]) {
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
