"""Questions to a server about its state: health, gauges, whether blocks are still held."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from history.metrics import parse_key
from kvchaos.prometheus.scraper import BadScrape, Samples, Scraper, parse_samples

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USAGE = "vllm:kv_cache_usage_perc"
NOT_RESET = "Failed to reset prefix cache"
"""What releases to 0.25 log, where they answer nothing, when blocks are still held."""
RESET = "/reset_prefix_cache"
RESET_WITH_TIER = f"{RESET}?reset_external=true"
ANSWER_S = 5.0
SETTLE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Gauges:
    """None: the server shows no such gauge, or no metrics at all."""

    running: float | None
    waiting: float | None
    kv_usage: float | None

    @property
    def idle(self) -> bool:
        return self.running == 0 and self.waiting == 0


@dataclass(frozen=True, slots=True)
class Probe:
    """What the server said when it was asked to drop its prefix cache."""

    ok: bool | None
    """Whether it did, so that no block was held; None: it gave no word on its blocks."""
    answer: str
    detail: str


def gauges(samples: Samples | None) -> Gauges:
    """The gauges of a scrape, summed over engines."""
    found = samples or {}
    return Gauges(_sum(found, RUNNING), _sum(found, WAITING), _sum(found, KV_USAGE))


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
    """The server's own metrics at this moment; None when it does not tell any."""
    try:
        status, body = _ask(base_url, "GET", "/metrics")
        return own_figures(parse_samples(body)) if status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, BadScrape):
        return None


def health(base_url: str) -> int | None:
    """HTTP status of /health; None when there is no answer."""
    try:
        return _ask(base_url, "GET", "/health")[0]
    except (OSError, http.client.HTTPException):
        return None


def reset_prefix_cache(base_url: str, server_log: Path, *, tier: bool = False) -> Probe:
    """Ask the server to drop its prefix cache, and with `tier` its offload tier (from 0.22 on).

    It refuses while any request still holds blocks.
    """
    logged = server_log.stat().st_size
    try:
        status, body = _ask(base_url, "POST", RESET_WITH_TIER if tier else RESET)
    except TimeoutError:
        return Probe(None, "", f"the server did not answer the probe within {ANSWER_S:g} s")
    except (OSError, http.client.HTTPException) as error:
        return Probe(None, "", f"the server did not answer the probe: {type(error).__name__}: {error}")
    if status != http.HTTPStatus.OK:
        return Probe(None, body, f"the server answered the probe with HTTP status {status}")
    if body.strip():
        return _word(body)
    with server_log.open("rb") as log:
        log.seek(logged)
        refusal = next((line for line in log if NOT_RESET.encode() in line), None)
    if refusal is not None:
        return Probe(False, "", refusal.decode("utf-8", "replace").strip())
    return Probe(True, "", "no refusal in the server's log")


def _word(body: str) -> Probe:
    """What an answer says of the blocks, if it says anything."""
    try:
        said = json.loads(body)
    except ValueError as error:
        return Probe(None, body, f"the answer to the probe is not JSON: {error}")
    success = said.get("success") if isinstance(said, dict) else None
    if success is True:
        return Probe(True, body, "")
    if success is False:
        return Probe(False, body, "the server says that blocks are still held")
    return Probe(None, body, "the answer to the probe does not say whether blocks are held")


def _ask(base_url: str, method: str, path: str) -> tuple[int, str]:
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def _sum(samples: Samples, metric: str) -> float | None:
    values = [
        value for key, value in samples.items() if key.startswith(metric) and parse_key(key)[0] == metric
    ]
    return sum(values) if values else None


def own_figures(samples: Samples) -> Samples:
    """The server's own figures, without those of its process, which never stand still."""
    return {key: value for key, value in samples.items() if key.startswith("vllm:")}
