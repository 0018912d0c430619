"""Charts of TTFT, ITL, tokens and the client's own delay on Locust's page, below those that Locust draws."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import gevent
import msgspec
from flask import Flask, Response, jsonify
from locust.env import Environment
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner

from history.latency import US_PER_MS, itl_us, percentiles, ttft_ms, waits_ms
from history.records import RequestRecord
from loadtests.client_monitor import ClientMonitor

EVERY_S = 2.0
FROM_WORKERS_S = 2 * WORKER_REPORT_INTERVAL
"""Workers tell what they saw less often."""
KEPT = 1800
"""Points: an hour and more."""
SCRIPT = Path(__file__).with_name("charts.js").read_text(encoding="utf-8")
TAG = '<script src="./kvchaos/charts.js"></script></body>'
REPORT_KEY = "kvchaos"
"""Under which a worker process adds to what it tells the one with the page."""

Point = dict[str, float | list[float | None]]


class Hook(Protocol):
    """A Locust event, as typed as it is used here."""

    def add_listener(self, handler: Callable[..., None]) -> object:
        """Call the handler on each event."""


class Samples(msgspec.Struct):
    """Samples that some processes collected over an interval."""

    ttfts_ms: list[float] = []
    itls_ms: list[float] = []
    """Between any two events of a stream."""
    tokens: int = 0
    lags_us: list[int] = []
    """Event loop lags of the processes, see ClientRecord."""

    def add(self, other: Samples) -> None:
        """Append the samples of another process."""
        self.ttfts_ms += other.ttfts_ms
        self.itls_ms += other.itls_ms
        self.tokens += other.tokens
        self.lags_us += other.lags_us

    def point(self, seconds: float) -> Point:
        """What the charts show of it."""
        return {
            "at_ms": time.time() * 1000,
            "ttft": percentiles(self.ttfts_ms, 50, 99),
            "itl": percentiles(self.itls_ms, 50, 99),
            "tokens": [self.tokens / seconds],
            "lag": percentiles(waits_ms(self.lags_us), 50, 99),
        }


class Collector:
    """Listens to Locust, in the process with the page and in its workers."""

    def __init__(self, monitor: ClientMonitor | None) -> None:
        """`monitor` watches a process that sends load itself."""
        self._samples = Samples()
        self._monitor = monitor

    def on_request(self, context: dict[str, object], **_: object) -> None:
        """Add the tokens and latencies of an ended request."""
        record = context.get("record")
        if isinstance(record, RequestRecord):
            self._samples.tokens += sum(record.chunk_tokens)
            ttft = ttft_ms(record)
            if record.outcome == "ok" and ttft is not None:
                self._samples.ttfts_ms.append(ttft)
                self._samples.itls_ms += [gap / US_PER_MS for gap in itl_us(record)]

    def on_report_to_master(self, data: dict[str, object], **_: object) -> None:
        """Put the samples since the last report into a worker's report."""
        data[REPORT_KEY] = msgspec.to_builtins(self.take())

    def on_worker_report(self, data: dict[str, object], **_: object) -> None:
        """Add the samples of a worker's report."""
        self._samples.add(msgspec.convert(data[REPORT_KEY], Samples))

    def take(self) -> Samples:
        """The samples since the last call."""
        samples, self._samples = self._samples, Samples()
        if self._monitor is not None:
            samples.lags_us += self._monitor.reading("").event_loop_lag_us
        return samples


def draw_charts(environment: Environment) -> None:
    """Collect for the charts in this process, and serve them where it has the page."""
    leads = isinstance(environment.runner, MasterRunner)
    monitor = None if leads else ClientMonitor(0)
    if monitor is not None:
        monitor.start()
    collector = Collector(monitor)
    _listen(environment.events.request, collector.on_request)
    _listen(environment.events.report_to_master, collector.on_report_to_master)
    _listen(environment.events.worker_report, collector.on_worker_report)
    if environment.web_ui is not None and environment.web_ui.app is not None:
        points: deque[Point] = deque(maxlen=KEPT)
        _serve(environment.web_ui.app, points)
        gevent.spawn(_collect, collector, points, FROM_WORKERS_S if leads else EVERY_S)


def _listen(hook: Hook, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)


def _collect(collector: Collector, points: deque[Point], every_s: float) -> None:
    since = time.monotonic()
    while True:
        gevent.sleep(every_s)
        now = time.monotonic()
        points.append(collector.take().point(now - since))
        since = now


def _serve(app: Flask, points: deque[Point]) -> None:
    def points_json() -> Response:
        return jsonify(list(points))

    def script() -> Response:
        return Response(SCRIPT, mimetype="text/javascript")

    def with_script(response: Response) -> Response:
        if response.mimetype == "text/html" and not response.direct_passthrough:
            response.set_data(response.get_data(as_text=True).replace("</body>", TAG))
        return response

    app.add_url_rule("/kvchaos/points", view_func=points_json, endpoint="kvchaos_points")
    app.add_url_rule("/kvchaos/charts.js", view_func=script, endpoint="kvchaos_charts")
    app.after_request(with_script)
