"""Reads the state of a server over HTTP: health, gauges, whether requests still hold blocks."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from history.metrics import parse_key
from kvchaos.prometheus.scraper import BadScrape, Samples, Scraper, parse_samples
from loadtests.target import EndpointFailed, ServerEndpoints

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USAGE = "vllm:kv_cache_usage_perc"
RESET_REFUSED_LOG_LINE = "Failed to reset prefix cache"
"""Logged by releases up to 0.25, whose response is empty, when requests still hold blocks."""
TIMEOUT_S = 5.0
SETTLE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Gauges:
    """None: the server shows no such gauge, or no metrics at all."""

    running: float | None
    waiting: float | None
    kv_usage: float | None

    @property
    def idle(self) -> bool:
        """Whether no request runs or waits."""
        return self.running == 0 and self.waiting == 0


@dataclass(frozen=True, slots=True)
class ResetResult:
    """The response to a reset of the prefix cache."""

    ok: bool | None
    """Whether it was reset, so that no request held a block; None: the response does not say."""
    answer: str
    detail: str


def gauges(samples: Samples | None) -> Gauges:
    """The gauges of a scrape, summed over engines."""
    samples = samples or {}
    return Gauges(_sum(samples, RUNNING), _sum(samples, WAITING), _sum(samples, KV_USAGE))


def settle(scraper: Scraper, deadline_s: float) -> bool:
    """Wait until the server is idle and its counters stand still; False when it is not in time or gone."""
    deadline = time.monotonic() + deadline_s
    before: Samples | None = None
    while True:
        now = scraper.scrape_now()
        if now is None:
            return False
        if before is not None and gauges(now).idle and own_figures(now) == own_figures(before):
            return True
        if time.monotonic() > deadline:
            return False
        before = now
        time.sleep(SETTLE_POLL_S)


def figures(base_url: str) -> Samples | None:
    """The server's own metrics at this moment; None when it exposes none."""
    try:
        with ServerEndpoints(base_url, TIMEOUT_S) as server:
            return own_figures(parse_samples(server.metrics().decode("utf-8", "replace")))
    except (EndpointFailed, BadScrape):
        return None


def health(base_url: str) -> int | None:
    """HTTP status of /health; None when there is no answer."""
    with ServerEndpoints(base_url, TIMEOUT_S) as server:
        return server.health()


def reset_prefix_cache(base_url: str, server_log: Path, *, tier: bool = False) -> ResetResult:
    """Ask the server to drop its prefix cache, and with `tier` its offload tier (from 0.22 on).

    It refuses while any request still holds blocks.
    """
    logged = server_log.stat().st_size
    try:
        with ServerEndpoints(base_url, TIMEOUT_S) as server:
            response = server.reset_prefix_cache_and_tier() if tier else server.reset_prefix_cache()
    except EndpointFailed as error:
        return ResetResult(None, "", f"the server did not answer the probe: {error.problem}")
    body = response.text
    if response.status != HTTPStatus.OK:
        return ResetResult(None, body, f"the server answered the probe with HTTP status {response.status}")
    if body.strip():
        return _parse_reset(body)
    with server_log.open("rb") as log:
        log.seek(logged)
        refusal = next((line for line in log if RESET_REFUSED_LOG_LINE.encode() in line), None)
    if refusal is not None:
        return ResetResult(False, "", refusal.decode("utf-8", "replace").strip())
    return ResetResult(True, "", "no refusal in the server's log")


def _parse_reset(body: str) -> ResetResult:
    """The result in a response body, if it has any."""
    try:
        reply = json.loads(body)
    except ValueError as error:
        return ResetResult(None, body, f"the answer to the probe is not JSON: {error}")
    success = reply.get("success") if isinstance(reply, dict) else None
    if success is True:
        return ResetResult(True, body, "")
    if success is False:
        return ResetResult(False, body, "the server reports that blocks are still in use")
    return ResetResult(None, body, "the answer to the probe does not show whether blocks are in use")


def _sum(samples: Samples, metric: str) -> float | None:
    values = [
        value for key, value in samples.items() if key.startswith(metric) and parse_key(key)[0] == metric
    ]
    return sum(values) if values else None


def own_figures(samples: Samples) -> Samples:
    """The server's own figures, without those of its process, which never stand still."""
    return {key: value for key, value in samples.items() if key.startswith("vllm:")}
