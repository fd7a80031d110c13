/**
 * The two ways to play HLS in a `<video>`: natively, or with hls.js, which is loaded on first use.
 */

import { loadOnce } from "../load.ts";

/** The path of hls.js (player/hls.ts), which client/build.mjs defines. */
declare const HLS_SCRIPT: string;

/** Playback in a video until `stop` is called. */
export interface Engine {
  stop(): void;
}

/** Starts playback. `failed` is called when playback can't continue. */
type Start = (video: HTMLVideoElement, url: string, failed: () => void) => Engine;

export const playsNatively = (video: HTMLVideoElement) =>
  video.canPlayType("application/vnd.apple.mpegurl") !== "";

/** Whether the browser has the APIs that hls.js needs. */
export const canUseHls = () => "MediaSource" in window || "ManagedMediaSource" in window;

export const native: Start = (video, url, failed) => {
  video.addEventListener("error", failed);
  video.src = url;
  return {
    stop: () => {
      video.removeEventListener("error", failed);
      empty(video);
    },
  };
};

type Hls = typeof import("./hls.ts");
let loading: Promise<Hls> | undefined;
/** How often hls.js failed to load. */
let failures = 0;

/** Loads hls.js, if it is not there yet. A failed load fails the attempt to play; the next attempt loads it again. */
const loadHls = () =>
  (loading ??= loadOnce<Hls>(HLS_SCRIPT, failures).catch((error) => {
    failures += 1;
    loading = undefined;
    throw error;
  }));

export const hls: Start = (video, url, failed) => {
  let isStopped = false;
  let stopHls: (() => void) | undefined;
  void (async () => {
    const { default: Hls } = await loadHls();
    if (isStopped) return;
    // A worker would need an exception in the Content-Security-Policy. Repacking a few segments a minute doesn't need
    // one.
    const player = new Hls({ enableWorker: false });
    let mayRecover = true;
    player.on(Hls.Events.ERROR, (_event, { fatal, type }) => {
      if (!fatal) return;
      if (type === Hls.ErrorTypes.MEDIA_ERROR && mayRecover) {
        mayRecover = false;
        player.recoverMediaError();
      } else {
        failed();
      }
    });
    player.loadSource(url);
    player.attachMedia(video);
    stopHls = () => player.destroy();
  })().catch(failed);
  return {
    stop: () => {
      isStopped = true;
      stopHls?.();
      empty(video);
    },
  };
};

/** Unloads the stream, which also removes the last frame. */
function empty(video: HTMLVideoElement): void {
  video.removeAttribute("src");
  video.load();
}
