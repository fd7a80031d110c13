"use client";

import { trackViewer, watchCount, type CountUpdate } from "aforo";
import { useEffect, useState } from "react";

import "aforo/element";
import { Viewers } from "./viewers";

/** The count over a stream of this page alone, without hooks. */
function PlainCount({ channelId, baseUrl }: { channelId: string; baseUrl: string | undefined }) {
  const [update, setUpdate] = useState<CountUpdate>();
  useEffect(() => watchCount(channelId, setUpdate, { baseUrl }), [channelId, baseUrl]);
  return (
    <p className="plain" data-count={update?.state}>
      {update?.count ?? "—"}
    </p>
  );
}

/** Counts the page, without hooks. */
function PlainTracker({ channelId, baseUrl }: { channelId: string; baseUrl: string | undefined }) {
  const [state, setState] = useState("");
  useEffect(() => {
    const tracker = trackViewer(channelId, { baseUrl });
    tracker.on("state", (status) => setState(status.state));
    return () => tracker.stop();
  }, [channelId, baseUrl]);
  return <p className="tracker">{state}</p>;
}

const PARTS = [
  "Viewers",
  "Second viewers",
  "Disabled viewers",
  "Plain count",
  "Plain tracker",
  "Element",
] as const;

/** Mounts and unmounts the parts of the package. */
export function Parts({ baseUrl }: { baseUrl: string | undefined }) {
  const [channelId, setChannelId] = useState("ana.tv");
  const [shown, setShown] = useState<ReadonlySet<string>>(new Set());
  const toggle = (part: string) =>
    setShown(
      (before) => new Set(before.has(part) ? [...before].filter((each) => each !== part) : [...before, part]),
    );
  return (
    <>
      <label>
        Channel <input value={channelId} onChange={(event) => setChannelId(event.target.value)} />
      </label>
      {PARTS.map((part) => (
        <label key={part}>
          <input type="checkbox" checked={shown.has(part)} onChange={() => toggle(part)} /> {part}
        </label>
      ))}
      {shown.has("Viewers") && <Viewers channelId={channelId} baseUrl={baseUrl} />}
      {shown.has("Second viewers") && <Viewers channelId={channelId} baseUrl={baseUrl} />}
      {shown.has("Disabled viewers") && <Viewers channelId={channelId} baseUrl={baseUrl} enabled={false} />}
      {shown.has("Plain count") && <PlainCount channelId={channelId} baseUrl={baseUrl} />}
      {shown.has("Plain tracker") && <PlainTracker channelId={channelId} baseUrl={baseUrl} />}
      {shown.has("Element") && <viewer-counter channel={channelId} base-url={baseUrl} locale="en" />}
    </>
  );
}
