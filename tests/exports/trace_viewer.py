#!/usr/bin/env python3
"""Opens a trace in the viewer of Chrome (the project catapult) in Chromium, and holds what it imported against the trace.

usage: trace_viewer.py TRACE CATAPULT [PICTURE]      CATAPULT: a checkout of https://chromium.googlesource.com/catapult

Prints how many events of each operation the viewer has in each process, and exits with 1 where they are not those of the trace, or
where the viewer has a warning. PICTURE: a PNG of what it shows.
"""

import collections
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

# Tells the server what the viewer has imported. The browser waits for the picture that is asked for here before it calls the page loaded.
PROBE = """<img src="/seen"><script>
(function look() {
  const view = document.querySelector('tr-ui-timeline-view');
  if (!view || !view.model || !view.model.processes || document.querySelector('tr-ui-b-overlay[visible]')) return setTimeout(look, 100);
  const seen = { events: {}, warnings: view.model.importWarnings.map((warning) => warning.text) };
  for (const process of Object.values(view.model.processes)) {
    for (const thread of Object.values(process.threads)) {
      for (const slice of thread.sliceGroup.slices) {
        const key = `${process.pid} ${slice.title}`;
        seen.events[key] = (seen.events[key] || 0) + 1;
      }
    }
  }
  if (Object.keys(seen.events).length === 0) return setTimeout(look, 100);
  fetch('/tell', { method: 'POST', body: JSON.stringify(seen) });
})();
</script>"""


def main(trace: pathlib.Path, catapult: pathlib.Path, picture: str) -> int:
    told = threading.Event()
    seen = {}
    with tempfile.TemporaryDirectory() as temporary:
        page = pathlib.Path(temporary, "trace.html")
        subprocess.run([sys.executable, catapult / "tracing/bin/trace2html", trace, "--quiet", "--output", page], check=True)
        html = page.read_text() + PROBE

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/seen":
                    told.wait(300)
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(html.encode() if self.path == "/" else b"")

            def do_POST(self) -> None:
                seen.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()
                told.set()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,800", f"--user-data-dir={temporary}/profile"]
        address = f"http://127.0.0.1:{server.server_port}/"
        subprocess.run(["chromium", *options, f"--screenshot={picture}", address], stderr=subprocess.DEVNULL, timeout=400, check=True)
        server.shutdown()
        server.server_close()
    events = json.loads(trace.read_text())["traceEvents"]
    written = collections.Counter(f"{event['pid']} {event['name']}" for event in events if event["ph"] != "M")
    for key in sorted(written):
        print(f"process {key}: {written[key]} written, {seen.get('events', {}).get(key, 0)} in the viewer")
    for warning in seen.get("warnings", ["it imported nothing"]):
        print(f"the viewer warns: {warning}")
    return int(not seen or seen["events"] != dict(written) or seen["warnings"] != [])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "/dev/null"))
