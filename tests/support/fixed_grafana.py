"""A server with a small fixed page in the shape of a dashboard of Grafana. It is not Grafana.

Its page has the test ids of Grafana's components, sends one query and one request of a variable, and writes
the variables into its URL. It replaces a Grafana in tests of the code that opens dashboards.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PAGE = """<!doctype html><title>fixed</title>
<a href="/d/kvchaos-nights/nights?from=1">nights</a>
<section data-testid="data-testid Panel header Requests">
  <button data-testid="data-testid Panel status info" aria-label="Panel status"></button>
  <h2 data-testid="data-testid Panel header item menu">Requests</h2>
  __REQUESTS__
</section>
<div id="later"></div>
__ALERT__
<script>
const late = `<section data-testid="data-testid Panel header Latency">
  <div id="bar" aria-label="Panel loading bar"></div></section>`;
const query = {method: "POST", body: JSON.stringify({queries: [{refId: "A", expr: "up"}]})};
history.replaceState(null, "", location.href + "&var-run=r1&var-datasource=prometheus");
fetch("https://host.invalid/").catch(() => undefined);
fetch("/api/datasources/uid/prometheus/resources/api/v1/label/run/values")
  .then(() => { later.innerHTML = late; return fetch("/api/ds/query?ds_type=prometheus", query); })
  .then(() => bar.remove());
</script>"""
STATUS = '<button data-testid="data-testid Panel status error"></button>'
ALERT = '<div data-testid="data-testid Alert error">An unexpected error happened</div>'
GOOD: object = {"results": {"A": {"status": 200, "frames": []}}}


@dataclass
class FixedAnswers:
    """What the server answers."""

    query: object = field(default_factory=lambda: GOOD)
    query_status: int = 200
    page: str = PAGE.replace("__REQUESTS__", "").replace("__ALERT__", "")


BROKEN_PAGE = PAGE.replace("__REQUESTS__", STATUS).replace("__ALERT__", ALERT)


@contextmanager
def fixed_grafana(answers: FixedAnswers) -> Iterator[str]:
    """The URL of the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/d/"):
                self._answer(200, "text/html", answers.page)
            else:
                self._answer(200, "application/json", json.dumps({"status": "success", "data": ["r1"]}))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(answers.query_status, "application/json", json.dumps(answers.query))

        def _answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object, **__: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
