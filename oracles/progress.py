"""Judges whether waiting work goes on, and whether it does so again after faults are healed.

Findings name a livelock, a deadlock, or else a stall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from history.events import FaultsHealed, PhaseEnd, ServerStalled, Timed
from history.reader import History
from history.records import DEADLINE_EXCEEDED, RequestRecord
from history.verdict import SERVER, Figures, OracleResult, phase, request
from oracles.findings import EVENTS, METRICS, REQUESTS, Findings, Oracle, Rule
from oracles.views.incarnations import deaths
from oracles.views.timeline import NS_PER_S, BusyTimes, end_ns, scraped_to_the_end, totals

NAME = "progress"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
VAIN_WORK = ("vllm:external_prefix_cache_queries_total", "vllm:num_preemptions_total")
"""Counters that grow while an engine repeats the same attempt."""
US_PER_S = 1_000_000
MAX_GAP_S = 5.0
"""Nothing is known between two scrapes that are further apart, so no stall spans them."""
NO_GAUGES = "the server shows no gauges of requests, or the scrapes end before the load does"
LIVELOCK = Rule(
    "progress/livelock",
    "An engine that keeps looking up blocks or preempting requests also computes tokens.",
    "arithmetic",
    (EVENTS, METRICS, REQUESTS),
    NO_GAUGES,
)
DEADLOCK = Rule(
    "progress/deadlock",
    "While requests wait, at least one of them runs.",
    "arithmetic",
    (EVENTS, METRICS, REQUESTS),
    NO_GAUGES,
)
STALL = Rule(
    "progress/stall",
    "While a request is in flight, tokens are computed within the scenario's `stall_s`.",
    "scenario",
    (EVENTS, METRICS, REQUESTS),
    NO_GAUGES,
)
DEADLINE = Rule(
    "progress/deadline", "Each request ends within the scenario's `request_s`.", "scenario", (REQUESTS,)
)
ANSWER = Rule(
    "progress/answer-stalled",
    "Between two parts of one answer no more time passes than the scenario's `stall_s`.",
    "scenario",
    (REQUESTS,),
)
NOTHING_SENT = "no request was sent after healing"
NO_RECOVERY = Rule(
    "progress/no-recovery",
    "After faults are healed, a request is answered.",
    "scenario",
    (EVENTS, REQUESTS),
    NOTHING_SENT,
)
SLOW_RECOVERY = Rule(
    "progress/slow-recovery",
    "After faults are healed, the first answer comes within the scenario's `recover_s`.",
    "scenario",
    (EVENTS, REQUESTS),
    NOTHING_SENT,
)
RULES = (LIVELOCK, DEADLOCK, STALL, DEADLINE, ANSWER, NO_RECOVERY, SLOW_RECOVERY)
NAMES = {LIVELOCK: "livelock", DEADLOCK: "deadlock", STALL: "stall"}


@dataclass(frozen=True, slots=True)
class Point:
    """What one scrape says about progress."""

    t_ns: int
    running: float
    waiting: float
    tokens: float
    """Prompt and generated tokens so far."""
    vain_work: float
    """Lookups in the tier (tokens) and preemptions so far."""


def judge(history: History) -> OracleResult:
    """Judge progress: no stall by the events or by the metrics, and no missed deadline.

    A request that was sent after a healing must be answered soon.
    """
    found = Findings(NAME)
    points = _points(history)
    for event in history.events_of(ServerStalled):
        _stall(event, points or [], found)
    _stalls_noted(history, found)
    _deadlines(history, found)
    _answers(history, found)
    if points is None:
        found.gap("metric-absent", f"the server reports no {RUNNING}, {WAITING} or tokens")
    else:
        _standstills(history, points, found)
    if not history.requests:
        found.gap("no-request", "no request was recorded")
    elif points and not scraped_to_the_end(history):
        found.gap("scrapes-end-early", "the scrapes end before the load does")
    took = judge_recoveries(history, found)
    healed = f"; the server answered again {max(took):.1f} s after healing" if took else ""
    passed = f"{len(history.requests)} requests and {len(history.metrics)} scrapes show no stall"
    figures: Figures = {"requests": len(history.requests), "scrapes": len(history.metrics)}
    if took:
        figures["recovery_s"] = max(took)
    return found.result(passed + healed, **figures)


def _stalls_noted(history: History, found: Findings) -> None:
    """The conductor ends a phase as stalled only after it has noted a stall."""
    if history.events_of(ServerStalled):
        return
    for end in history.events_of(PhaseEnd):
        if end.data.reason == "stalled":
            text = f"phase {end.data.phase} ended as stalled, but no stall was recorded"
            found.gap("stall-lost", text, phase(end.data.phase))


def _stall(event: Timed[ServerStalled], points: list[Point], found: Findings) -> None:
    """A stall that the conductor recorded, named by what the server counted meanwhile."""
    stall = event.data
    since_ns = event.t_ns - int(stall.seconds * NS_PER_S)
    frozen = [point for point in points if since_ns <= point.t_ns <= event.t_ns]
    rule, why = _kind(frozen)
    text = (
        f"{NAMES[rule]}: the server computed no token for {stall.seconds} s, "
        f"with {_number(stall.running)} running and {_number(stall.waiting)} waiting requests{why}"
    )
    given = {"seconds": stall.seconds, "running": stall.running, "waiting": stall.waiting}
    figures = {name: value for name, value in given.items() if value is not None}
    text = f"{text}; {stall.detail}" if stall.detail else text
    found.violation(rule, SERVER, text, figures=figures, t_ns=event.t_ns)


def _number(gauge: float | None) -> str:
    return "an unknown number of" if gauge is None else f"{gauge:g}"


def _kind(frozen: list[Point]) -> tuple[Rule, str]:
    """Which rule these scrapes without a token break, and what shows it."""
    if len(frozen) > 2:
        first, middle, last = frozen[0], frozen[len(frozen) // 2], frozen[-1]
        # In both halves, since what was counted once as the trouble began is no work in vain.
        if first.vain_work < middle.vain_work < last.vain_work:
            grown = last.vain_work - first.vain_work
            return LIVELOCK, f", and counted {grown:g} looked-up tokens and preemptions"
    if frozen and all(point.running == 0 and point.waiting > 0 for point in frozen[1:]):
        return DEADLOCK, ""
    return STALL, ""


def _deadlines(history: History, found: Findings) -> None:
    for record in history.requests:
        found.checked += 1
        if record.error is not None and record.error.kind == DEADLINE_EXCEEDED:
            seconds = record.end_us / 1e6
            text = f"request {record.id} had not ended after {seconds:.1f} s"
            figures = {"seconds": seconds}
            found.violation(DEADLINE, request(record.id), text, figures=figures, t_ns=record.start_ns)


def _answers(history: History, found: Findings) -> None:
    """Other requests may progress meanwhile, so the server as a whole does not stall."""
    limit_s = history.plan.scenario.limits.stall_s
    for record in history.requests:
        if record.outcome != "ok" or record.end_us <= limit_s * US_PER_S:
            continue
        gap_s = max((late - soon for soon, late in pairwise(record.chunk_us)), default=0) / US_PER_S
        if gap_s > limit_s:
            text = f"the answer to request {record.id} paused for {gap_s:.1f} s, bound {limit_s:g} s"
            figures = {"seconds": gap_s, "allowed": limit_s}
            subject = request(record.id)
            found.violation(ANSWER, subject, text, figures=figures, phase=record.phase, t_ns=record.start_ns)


def _standstills(history: History, points: list[Point], found: Findings) -> None:
    found.checked += len(points)
    busy = BusyTimes(history.requests)
    # A gauge keeps its last value while the engine rests, so it only counts while a client waits.
    watched = [point for point in points if point.t_ns in busy]
    for frozen in _frozen(watched, history.plan.scenario.limits.stall_s):
        first, last = frozen[0], frozen[-1]
        work = f"{last.running:g} running and {last.waiting:g} waiting requests"
        rule, why = _kind(frozen)
        seconds = _seconds(first, last)
        text = f"{NAMES[rule]}: the server computed no token for {seconds:.1f} s, with {work}{why}"
        samples = [(point.t_ns, point.tokens) for point in (first, last)]
        figures = {"seconds": seconds, "running": last.running, "waiting": last.waiting}
        found.violation(rule, SERVER, text, figures=figures, samples=samples, t_ns=first.t_ns)


def _points(history: History) -> list[Point] | None:
    """One point for each scrape that has all the metrics; None when no scrape has them."""
    log = history.metrics
    needed = (totals(log, RUNNING), totals(log, WAITING), totals(log, TOKENS[0]), totals(log, TOKENS[1]))
    vain = (totals(log, VAIN_WORK[0]), totals(log, VAIN_WORK[1]))
    points = [
        Point(t_ns, running, waiting, prompt + generated, (lookups or 0.0) + (preemptions or 0.0))
        for t_ns, running, waiting, prompt, generated, lookups, preemptions in zip(
            log.times_ns, *needed, *vain, strict=True
        )
        if running is not None and waiting is not None and prompt is not None and generated is not None
    ]
    return points or None


def _frozen(points: list[Point], limit_s: float) -> list[list[Point]]:
    """Every unbroken stretch of points, longer than the limit, with work and without a token."""
    runs: list[list[Point]] = []
    current: list[Point] = []
    for point in points:
        if current and not _goes_on(current[-1], point):
            runs.append(current)
            current = []
        current.append(point)
    runs.append(current)
    return [frozen for frozen in runs if frozen and _seconds(frozen[0], frozen[-1]) > limit_s]


def _goes_on(before: Point, now: Point) -> bool:
    near = _seconds(before, now) <= MAX_GAP_S
    return near and now.running + now.waiting > 0 and now.tokens == before.tokens


def _seconds(first: Point, last: Point) -> float:
    return (last.t_ns - first.t_ns) / NS_PER_S


@dataclass(frozen=True, slots=True)
class Recovery:
    """Whether and when the server answered after a healing."""

    healed: Timed[FaultsHealed]
    was_loaded: bool
    """Whether any request was sent afterwards."""
    seconds: float | None
    """Time from healing to the first complete answer to a later request; None if there was none."""
    by_cache: bool | None
    """Whether any whole answer to the load that was sent afterwards came with the help of the cache, by its
    usage; None where none tells, or no load was answered."""


def recoveries(history: History) -> Iterator[Recovery]:
    """One for each healing that the server confirmed; none for a server that died."""
    if deaths(history):
        return
    by_start = sorted(history.requests, key=attrgetter("start_ns"), reverse=True)
    healings = [event for event in history.events_of(FaultsHealed) if event.data.confirmed]
    # Backwards through time, so that each request is looked at once.
    index = 0
    first_ns: int | None = None
    by_cache: bool | None = None
    load = {phase.name for phase in history.plan.scenario.phases}
    found: list[Recovery] = []
    for event in sorted(healings, key=lambda event: event.t_ns, reverse=True):
        while index < len(by_start) and by_start[index].start_ns >= event.t_ns:
            first_ns = _earlier(first_ns, by_start[index])
            by_cache = _used_cache(by_cache, by_start[index], load)
            index += 1
        seconds = None if first_ns is None else (first_ns - event.t_ns) / NS_PER_S
        found.append(Recovery(event, index > 0, seconds, by_cache))
    yield from reversed(found)


def judge_recoveries(history: History, found: Findings) -> Sequence[float]:
    """Is the server at work again in time after each healing? Returns the seconds that it took."""
    deadline_s = history.plan.scenario.limits.recover_s
    took: list[float] = []
    for recovery in recoveries(history):
        name, healed_ns = recovery.healed.data.phase, recovery.healed.t_ns
        where = f"after the healing in phase {name}"
        if not recovery.was_loaded:
            found.gap("nothing-sent", f"{where}, no request was sent", phase(name))
            continue
        found.checked += 1
        if recovery.seconds is None:
            found.violation(NO_RECOVERY, phase(name), f"{where}, no request was answered", t_ns=healed_ns)
            continue
        took.append(recovery.seconds)
        if recovery.by_cache is False and history.plan.scenario.server.offload:
            found.gap("recovery-without-cache", f"{where}, no answer used the cache", phase(name))
        if recovery.seconds > deadline_s:
            late = f"{where}, the first answer took {recovery.seconds:.1f} s, bound {deadline_s:g} s"
            figures = {"seconds": recovery.seconds, "bound": deadline_s}
            found.violation(SLOW_RECOVERY, phase(name), late, figures=figures, t_ns=healed_ns)
    return took


def _earlier(first_ns: int | None, record: RequestRecord) -> int | None:
    if record.outcome != "ok":
        return first_ns
    return end_ns(record) if first_ns is None else min(first_ns, end_ns(record))


def _used_cache(so_far: bool | None, record: RequestRecord, load: set[str]) -> bool | None:
    """Whether this answer, or one before it, came with the help of the cache."""
    usage = record.usage
    if record.outcome != "ok" or record.phase not in load or usage is None or usage.cached_tokens is None:
        return so_far
    return bool(so_far) or usage.cached_tokens > 0


ORACLE = Oracle(NAME, "waiting work makes progress", (EVENTS, REQUESTS, METRICS), judge, RULES)
