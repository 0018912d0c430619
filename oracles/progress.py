"""Does work that waits move on?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from history.reader import History
from history.verdict import OracleResult, Witness
from oracles.findings import Findings
from oracles.timeline import NS_PER_S, BusyTimes, totals

NAME = "progress"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
MAX_GAP_S = 5.0
"""Between two scrapes further apart than this nothing is known, so a stretch does not span them."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one scrape says about progress."""

    t_ns: int
    running: float
    waiting: float
    tokens: float
    """Prompt and generated tokens so far."""


def judge(history: History) -> OracleResult:
    """No stall was seen, no request ran into its deadline, and the metrics agree: no long standstill."""
    found = Findings(NAME)
    for event in history.events_of("stall"):
        running, waiting = event.data.get("running"), event.data.get("waiting")
        text = f"stalled for {event.data.get('seconds')} s: {running} running, {waiting} waiting"
        detail = event.data.get("detail")
        found.violation(Witness(text=f"{text}; {detail}" if detail else text, t_ns=event.t_ns))
    _deadlines(history, found)
    _standstills(history, found)
    return found.result(f"{len(history.requests)} requests and {len(history.metrics)} scrapes, no standstill")


def _deadlines(history: History, found: Findings) -> None:
    for record in history.requests:
        found.checked += 1
        if record.error is not None and record.error.kind == "DeadlineExceeded":
            seconds = record.end_us / 1e6
            text = f"request {record.id} had no end after {seconds:.1f} s"
            found.violation(Witness(text=text, request=record.id, t_ns=record.start_ns))


def _standstills(history: History, found: Findings) -> None:
    points = _points(history)
    if points is None:
        found.gap(f"the server reports no {RUNNING}, {WAITING} or tokens")
        return
    found.checked += len(points)
    limit = history.plan.scenario.limits.stall_s
    busy = BusyTimes(history.requests)
    # A gauge keeps its last value while the engine rests, so it only counts while a client waits.
    watched = [point for point in points if point.t_ns in busy]
    starved = _longest(watched, limit, lambda old, new: _starved(old) and _starved(new))
    for first, last in starved:
        text = f"{last.waiting:g} requests waited and none ran for {_seconds(first, last):.1f} s"
        found.violation(_witness(text, WAITING, first, last, first.waiting, last.waiting))
    frozen = _longest(watched, limit, lambda old, new: _has_work(new) and new.tokens == old.tokens)
    for first, last in frozen:
        work = f"{last.running:g} running and {last.waiting:g} waiting"
        text = f"no token for {_seconds(first, last):.1f} s with {work}"
        found.violation(_witness(text, TOKENS[1], first, last, first.tokens, last.tokens))


def _points(history: History) -> list[Point] | None:
    """One point for each scrape that has all the metrics; None when no scrape has them."""
    log = history.metrics
    series = (totals(log, RUNNING), totals(log, WAITING), totals(log, TOKENS[0]), totals(log, TOKENS[1]))
    points = [
        Point(t_ns, running, waiting, prompt + generated)
        for t_ns, running, waiting, prompt, generated in zip(log.times_ns, *series, strict=True)
        if running is not None and waiting is not None and prompt is not None and generated is not None
    ]
    return points or None


def _starved(point: Point) -> bool:
    return point.running == 0 and point.waiting > 0


def _has_work(point: Point) -> bool:
    return point.running + point.waiting > 0


def _longest(
    points: list[Point], limit_s: float, stuck: Callable[[Point, Point], bool]
) -> list[tuple[Point, Point]]:
    """First and last point of every unbroken stretch in which each step was stuck, longer than the limit."""
    stretches: list[tuple[Point, Point]] = []
    start = 0
    for place in range(1, len(points) + 1):
        goes_on = (
            place < len(points)
            and _seconds(points[place - 1], points[place]) <= MAX_GAP_S
            and stuck(points[place - 1], points[place])
        )
        if goes_on:
            continue
        if _seconds(points[start], points[place - 1]) > limit_s:
            stretches.append((points[start], points[place - 1]))
        start = place
    return stretches


def _seconds(first: Point, last: Point) -> float:
    return (last.t_ns - first.t_ns) / NS_PER_S


def _witness(text: str, metric: str, first: Point, last: Point, old: float, new: float) -> Witness:
    return Witness(text=text, metric=metric, samples=[(first.t_ns, old), (last.t_ns, new)], t_ns=first.t_ns)
