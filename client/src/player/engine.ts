/**
 * The two ways in which a `<video>` plays HLS: by itself, or fed by hls.js. hls.js is loaded when it is needed first.
 */

/** Something that plays into a video until it is stopped. */
export interface Engine {
  stop(): void;
}

/** Calls `failed` when it can't go on. */
type Start = (video: HTMLVideoElement, url: string, failed: () => void) => Engine;

export const playsNatively = (video: HTMLVideoElement) =>
  video.canPlayType("application/vnd.apple.mpegurl") !== "";

/** Whether hls.js can work here. */
export const canFeed = () => "MediaSource" in window || "ManagedMediaSource" in window;

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

export const fed: Start = (video, url, failed) => {
  let isStopped = false;
  let stopHls: (() => void) | undefined;
  void (async () => {
    const { default: Hls } = await import("./hls.ts");
    if (isStopped) return;
    // Without a worker, the page's policy needs no exception for one; what is left to do is to repack a few segments a minute.
    const hls = new Hls({ enableWorker: false });
    let mayRecover = true;
    hls.on(Hls.Events.ERROR, (_event, { fatal, type }) => {
      if (!fatal) return;
      if (type === Hls.ErrorTypes.MEDIA_ERROR && mayRecover) {
        mayRecover = false;
        hls.recoverMediaError();
      } else {
        failed();
      }
    });
    hls.loadSource(url);
    hls.attachMedia(video);
    stopHls = () => hls.destroy();
  })().catch(failed);
  return {
    stop: () => {
      isStopped = true;
      stopHls?.();
      empty(video);
    },
  };
};

/** Takes the last picture away as well. */
function empty(video: HTMLVideoElement): void {
  video.removeAttribute("src");
  video.load();
}
