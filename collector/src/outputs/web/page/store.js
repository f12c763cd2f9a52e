// The newest snapshot, and the seconds before it. Bounded: whoever leaves the page open pays nothing for it.

const SECONDS = 300;

export const store = { live: null, seconds: [], received: 0 };

// Takes a snapshot in. One of another collector replaces everything.
export function take(live) {
  const same = store.live && store.live.collector === live.collector;
  if (same && live.number < store.live.number) return false;
  const before = same ? store.seconds : [];
  const first = live.recent.length ? live.recent[0].second : Infinity;
  store.seconds = before.filter(({ second }) => second < first).concat(live.recent).slice(-SECONDS);
  store.live = live;
  store.received = performance.now();
  return true;
}

// Milliseconds since 1970 of a second of the collector's life. Its own clock never jumps; the wall's may.
export const wall = (second) => store.live.at_ms - (store.live.second - second) * 1000;
