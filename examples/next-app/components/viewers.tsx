"use client";

import { useViewerCount, useViewerTracker } from "aforo/react";

interface Props {
  channelId: string;
  enabled?: boolean;
  baseUrl: string | undefined;
  initialCount?: number | null;
}

/** Counts the page as a viewer, and shows the number of viewers. */
export function Viewers({ channelId, enabled = true, baseUrl, initialCount = null }: Props) {
  const tracking = useViewerTracker({ channelId, enabled, baseUrl });
  const { viewerCount, isConnected, state } = useViewerCount({ channelId, enabled, baseUrl, initialCount });
  return (
    <p className="viewers" data-tracker={tracking.state} data-count={state} data-connected={isConnected}>
      <b>{viewerCount ?? "—"}</b> viewers {tracking.error && <em role="alert">{tracking.error}</em>}
    </p>
  );
}
