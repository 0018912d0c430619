"""Sends the load of one run to an OpenAI-compatible server, and checks whether the failure shows.

usage: python load.py --url http://127.0.0.1:8000 --model NAME

It needs Python 3.9 or newer and no package. Exit code: 1 the failure shows, 0 it does not, 2 the figures that
it prints have to be compared by hand.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LOAD: dict[str, Any] = {}


@dataclass
class Result:
    """One request: how it ended, and the token ids of its answer."""

    prompt: str
    end: str
    tokens: list[int] = field(default_factory=list)


def send(url: str, model: str, request: dict[str, Any]) -> Result:
    """Send one request and read its answer, or as much of it as the run read."""
    result = Result(request["prompt_id"], "ok")
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=LOAD["timeout_s"])
    try:
        body = json.dumps({"model": model, **request["body"]})
        connection.request("POST", "/v1" + request["path"], body, {"Content-Type": "application/json"})
        read_answer(connection.getresponse(), request, result)
    except (OSError, http.client.HTTPException) as error:
        result.end = type(error).__name__
    finally:
        connection.close()
    return result


def read_answer(response: http.client.HTTPResponse, request: dict[str, Any], result: Result) -> None:
    """Read the tokens; stop where the client of the run aborted."""
    if response.status != 200:
        result.end = f"HTTP {response.status}"
        return
    started = time.monotonic()
    for event in events(response):
        if "error" in event:
            result.end = "error in the stream"
        for choice in event.get("choices", ()):
            result.tokens += choice.get("token_ids") or []
        tokens, seconds = request["abort_tokens"], request["abort_s"]
        if tokens is not None and len(result.tokens) >= tokens:
            result.end = "aborted"
        if seconds is not None and time.monotonic() - started >= seconds:
            result.end = "aborted"
        if result.end != "ok":
            return


def events(response: http.client.HTTPResponse) -> Iterable[dict[str, Any]]:
    """The events of a stream, or the one answer."""
    if "text/event-stream" not in response.headers.get("Content-Type", ""):
        yield json.loads(response.read())
        return
    for line in response:
        text = line.decode().strip()
        if text.startswith("data: ") and text != "data: [DONE]":
            yield json.loads(text[len("data: ") :])


def run_phase(url: str, model: str, phase: dict[str, Any]) -> list[Result]:
    """As many requests at once as the run had, or each at its time."""
    waiting = list(reversed(phase["requests"]))
    results: list[Result] = []
    lock = threading.Lock()
    began = time.monotonic()

    def user() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                request = waiting.pop()
            if request["at_s"] is not None:
                time.sleep(max(0.0, began + request["at_s"] - time.monotonic()))
            result = send(url, model, request)
            with lock:
                results.append(result)

    users = [threading.Thread(target=user) for _ in range(phase["concurrency"])]
    for each in users:
        each.start()
    for each in users:
        each.join()
    return results


def fetch(url: str) -> str | None:
    """The body of a page of the server; None where it does not answer with 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return str(response.read().decode())
    except (OSError, urllib.error.URLError):
        return None


def metrics(text: str) -> dict[str, float]:
    """The sum over all labels of each metric of vLLM."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if line.startswith("vllm:") and "_bucket" not in name and "_created" not in name:
            totals[name] = totals.get(name, 0.0) + float(line.rpartition(" ")[2])
    return totals


def different_answers(results: list[Result]) -> list[str]:
    """Prompts whose whole answers differ from their first one."""
    first: dict[str, list[int]] = {}
    ended = [result for result in results if result.end == "ok"]
    return [each.prompt for each in ended if first.setdefault(each.prompt, each.tokens) != each.tokens]


def report(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def shows(results: list[Result], healthy: bool, totals: dict[str, float]) -> bool | None:
    """Whether the failure shows; None where only a person can say."""
    if LOAD["check"] == "server":
        return not healthy
    if LOAD["check"] == "hang":
        return any(result.end in ("TimeoutError", "timeout") for result in results)
    if LOAD["check"] == "answers":
        return bool(different_answers(results))
    if LOAD["check"] == "tier-lookups":
        misses = totals["vllm:prefix_cache_queries_total"] - totals["vllm:prefix_cache_hits_total"]
        return totals["vllm:external_prefix_cache_queries_total"] > misses
    if LOAD["check"] == "finished-requests":
        ended = sum(result.end in ("ok", "aborted") for result in results)
        return totals["vllm:request_success_total"] < ended
    return None


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What counters have grown by, and the gauges as they are."""
    return {
        name: value - before.get(name, 0.0) if name.endswith("_total") else value
        for name, value in after.items()
    }


def main() -> int:
    """Send all phases, then look at the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    before = metrics(fetch(f"{options.url}/metrics") or "")
    results: list[Result] = []
    for phase in LOAD["phases"]:
        made = run_phase(options.url, options.model, phase)
        ends = sorted({result.end for result in made})
        counts = ", ".join(f"{sum(each.end == end for each in made)} {end}" for end in ends)
        report(f"phase {phase['name']}: {len(made)} requests: {counts}")
        results += made
    time.sleep(2.0)
    healthy = fetch(f"{options.url}/health") is not None
    totals = growth(before, metrics(fetch(f"{options.url}/metrics") or ""))
    report(f"/health {'returns 200' if healthy else 'does not return 200'}")
    for name in LOAD["metrics"]:
        report(f"{name} {totals.get(name, 'is missing')}")
    for prompt in different_answers(results):
        report(f"prompt {prompt}: the answer differs from the first one")
    found = shows(results, healthy, totals)
    report(
        {True: "the failure shows", False: "the failure does not show", None: "compare the figures"}[found]
    )
    return 2 if found is None else int(found)


if __name__ == "__main__":
    raise SystemExit(main())
