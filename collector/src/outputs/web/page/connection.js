// The stream of snapshots, opened again for as long as the page is looked at.

const SILENCE_MS = 5000;
const RETRY_MS = 1000;

// Calls `taken` with each snapshot, and `changed` with null when connected, or with the time since when it is not.
export function follow(taken, changed) {
  let source = null;
  let lost = null;
  let heard = 0;
  let retry = 0;

  const connected = () => {
    heard = performance.now();
    if (lost !== null) {
      lost = null;
      changed(null);
    }
  };

  const close = () => {
    source?.close();
    source = null;
    clearTimeout(retry);
  };

  const lose = () => {
    close();
    if (lost === null) {
      lost = Date.now();
      changed(lost);
    }
    if (!document.hidden) retry = setTimeout(open, RETRY_MS);
  };

  async function open() {
    close();
    const mine = new EventSource("/api/v1/events");
    source = mine;
    heard = performance.now();
    mine.addEventListener("error", () => mine === source && lose());
    mine.addEventListener("live", (event) => {
      if (mine !== source) return;
      taken(JSON.parse(event.data));
      connected();
    });
    // Events have the last seconds only; this has all that the collector remembers.
    try {
      const answer = await fetch("/api/v1/live", { signal: AbortSignal.timeout(SILENCE_MS) });
      if (answer.ok && mine === source) {
        taken(await answer.json());
        connected();
      }
    } catch {
      // The stream says whether the collector is there.
    }
  }

  // A connection that was cut on the way says nothing of it.
  setInterval(() => {
    if (source && performance.now() - heard > SILENCE_MS) lose();
  }, 1000);

  // A page that nobody sees costs nothing, and browsers give one host six connections for all its tabs.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  lost = Date.now();
  open();
}
