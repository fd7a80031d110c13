"use client";

import { useViewerCount, useViewerTracker } from "aforo/react";

interface Props {
  channelId: string;
  enabled?: boolean;
}

/** Counts the page as a viewer, and shows the number of viewers. */
export function Viewers({ channelId, enabled = true }: Props) {
  useViewerTracker({ channelId, enabled });
  const { viewerCount, isConnected } = useViewerCount({ channelId, enabled });
  return (
    <p className="viewers" data-connected={isConnected}>
      <b>{viewerCount}</b> viewers
    </p>
  );
}
