/** When a page has been seen (`onceSeen` of src/browser.ts). */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { reset } from "./support/page.ts";
import { onceSeen } from "../src/browser.ts";

type Size = Pick<DOMRectReadOnly, "width" | "height">;

let report: (entry: object) => void;
let thresholds: number[] = [];
let isObserving = false;

class Observer {
  constructor(callback: (entries: object[]) => void, options: { threshold: number[] }) {
    report = (entry) => callback([entry]);
    thresholds = options.threshold;
  }
  observe() {
    isObserving = true;
  }
  disconnect() {
    isObserving = false;
  }
}

const size = (width: number, height: number): Size => ({ width, height });
const WINDOW = size(1_000, 800);

/** The share of a frame of this size from which on the page is seen, in a window that covers it from below. */
const seenFrom = (frame: Size, rootBounds: Size | null) => {
  let isSeen = false;
  onceSeen(() => (isSeen = true));
  for (let height = 0; height <= Math.min(frame.height, WINDOW.height); height += 1) {
    const intersectionRect = size(Math.min(frame.width, WINDOW.width), height);
    const intersectionRatio = (intersectionRect.width * height) / (frame.width * frame.height);
    report({ isIntersecting: height > 0, intersectionRatio, intersectionRect, rootBounds });
    if (isSeen) {
      assert.equal(isObserving, false);
      return height;
    }
  }
  return undefined;
};

beforeEach(() => {
  reset();
  Object.assign(globalThis, {
    IntersectionObserver: Observer,
    outerWidth: WINDOW.width,
    outerHeight: WINDOW.height,
  });
});

test("a page is seen when half of it is visible", () => {
  for (const bounds of [WINDOW, null]) {
    assert.equal(seenFrom(size(640, 360), bounds), 180);
    assert.equal(seenFrom(size(1_000, 800), bounds), 400);
  }
});

test("a page larger than the window is seen when it covers half of the window", () => {
  for (const bounds of [WINDOW, null]) {
    assert.equal(seenFrom(size(1_000, 4_000), bounds), 400);
    assert.equal(seenFrom(size(3_000, 2_000), bounds), 400);
  }
});

test("where the window has no size, half of the page counts", () => {
  Object.assign(globalThis, { outerWidth: 0, outerHeight: 0 });
  assert.equal(seenFrom(size(3_000, 2_000), null), undefined);
  assert.equal(seenFrom(size(640, 360), null), 180);
});

test("a strip of a large page is not seen", () => {
  assert.equal(seenFrom(size(3_000, 2_000), size(2_000, 1_600)), undefined);
});

test("the browser reports before what covers half of the window covers all of it", () => {
  onceSeen(() => {});
  // Frames of up to 25 windows, by the share of the frame that covers the window.
  for (let share = 0.04; share <= 1; share += 0.01) {
    assert.ok(
      thresholds.some((threshold) => threshold >= share / 2 && threshold <= share),
      `${share}`,
    );
  }
  assert.equal(thresholds.at(-1), 0.5);
});
