"""Was the server fast enough, by the scenario's own bounds, and was it as fast after the faults as before?

Where a scenario sets no bounds, the oracle reports the figures and checks only that they are consistent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from history.events import FaultsHealed
from history.phase_spec import PhaseBounds
from history.reader import History
from history.verdict import OracleResult, request
from history.verdict import phase as phase_subject
from oracles.findings import CLIENT, EVENTS, REQUESTS, Findings, Oracle, Rule
from oracles.gpu_health import slowed
from oracles.load_client import limited
from oracles.speed import IN_A_ROW, Speed, recovered_ns, speeds
from oracles.views.timeline import NS_PER_S

NAME = "performance"
MAX_PHASES = 6
"""The most in the summary."""


def _rule(name: str, law: str) -> Rule:
    why = "the load generator was too slow, a GPU was slowed, or a phase has no good answer"
    return Rule(f"{NAME}/{name}", law, "scenario", (REQUESTS, EVENTS, CLIENT), why)


TTFT_MEDIAN = _rule("ttft-median", "The median TTFT of a phase is at most `ttft_median_ms`.")
TTFT_P99 = _rule("ttft-p99", "The 99th percentile of TTFT of a phase is at most `ttft_p99_ms`.")
ITL_P99 = _rule("itl-p99", "The 99th percentile of ITL of a phase is at most `itl_p99_ms`.")
THROUGHPUT = _rule("throughput", "The throughput of a phase is at least `tokens_per_s`.")
TTFT_RATIO = _rule("ttft-ratio", "The median TTFT is at most `ttft_ratio` times that of the phase before.")
THROUGHPUT_RATIO = _rule(
    "throughput-ratio", "The throughput is at least `tokens_ratio` times that of the phase before."
)
RECOVERY = _rule("recovery", "Within `recover_s` after healing, the TTFT is again as in the phase before.")
RULES = (TTFT_MEDIAN, TTFT_P99, ITL_P99, THROUGHPUT, TTFT_RATIO, THROUGHPUT_RATIO, RECOVERY)


def judge(history: History) -> OracleResult:
    """Judge the scenario's bounds on speed.

    Unknown when the load generator was too slow, since its delays must not count as the server's, and when
    heat or power supply slowed a GPU.
    """
    found = Findings(NAME)
    by_phase = {speed.name: speed for speed in speeds(history)}
    for speed in by_phase.values():
        _times(speed, found)
    limit = limited(history) or slowed(history)
    if limit is not None:
        found.gaps.append(limit)
    else:
        for name, bounds in history.plan.scenario.performance.items():
            _phase(history, name, bounds, by_phase, found)
    bounded = history.plan.scenario.performance
    first = "each phase is within its bounds" if bounded else "the scenario sets no bounds"
    passed = f"{first}; median / 99th percentile: {_figures_text(by_phase)}"
    return found.result(passed, phases=len(by_phase), bounded=len(bounded))


def _figures_text(by_phase: Mapping[str, Speed]) -> str:
    shown = list(map(str, by_phase.values()))[:MAX_PHASES]
    more = len(by_phase) - len(shown)
    return "; ".join([*shown, *([f"and {more} more phases"] if more else [])])


def _times(speed: Speed, found: Findings) -> None:
    """A request's times must be in order for anything to follow from them."""
    for record in speed.ok:
        found.checked += 1
        if not speed.in_order(record):
            text = f"the times of request {record.id} contradict each other"
            found.gap("times-inconsistent", text, request(record.id))
            return


def _phase(
    history: History, name: str, bounds: PhaseBounds, by_phase: Mapping[str, Speed], found: Findings
) -> None:
    speed = by_phase.get(name)
    if speed is None or not speed.ok:
        text = f"phase {name} has bounds on its speed but no good answer"
        found.gap("no-answer", text, phase_subject(name))
        return
    _alone(speed, bounds, found)
    if bounds.like is not None:
        before = by_phase.get(bounds.like)
        if before is None or not before.ok:
            text = f"phase {bounds.like} has no good answer to compare {name} with"
            found.gap("no-answer", text, phase_subject(bounds.like))
            return
        _beside(speed, before, bounds, found)
        if bounds.recover_s is not None:
            _recovery(history, speed, before, bounds.recover_s, found)


def _alone(speed: Speed, bounds: PhaseBounds, found: Findings) -> None:
    for rule, what, measured, bound in _latencies(speed, bounds):
        _at_most(rule, speed, what, measured, bound, "ms", found)
    if bounds.tokens_per_s is not None:
        _at_least(THROUGHPUT, speed, speed.tokens_per_s, bounds.tokens_per_s, "tokens/s", found)


def _latencies(speed: Speed, bounds: PhaseBounds) -> Iterator[tuple[Rule, str, float | None, float | None]]:
    yield TTFT_MEDIAN, "median TTFT", speed.ttft.median, bounds.ttft_median_ms
    yield TTFT_P99, "99th percentile of TTFT", speed.ttft.p99, bounds.ttft_p99_ms
    yield ITL_P99, "99th percentile of ITL", speed.itl.p99, bounds.itl_p99_ms


def _beside(speed: Speed, before: Speed, bounds: PhaseBounds, found: Findings) -> None:
    """Against an earlier phase of the same load."""
    if bounds.ttft_ratio is not None:
        ratio = _ratio(speed.ttft.median, before.ttft.median)
        unit = f"times that of {before.name}"
        _at_most(TTFT_RATIO, speed, "median TTFT", ratio, bounds.ttft_ratio, unit, found)
    if bounds.tokens_ratio is not None:
        ratio = _ratio(speed.tokens_per_s, before.tokens_per_s)
        unit = f"times that of {before.name}"
        _at_least(THROUGHPUT_RATIO, speed, ratio, bounds.tokens_ratio, unit, found)


def _ratio(now: float | None, before: float | None) -> float | None:
    return now / before if now is not None and before else None


def _at_most(
    rule: Rule,
    speed: Speed,
    what: str,
    measured: float | None,
    bound: float | None,
    unit: str,
    found: Findings,
) -> None:
    if bound is None:
        return
    if measured is None:
        found.gap("not-measured", f"phase {speed.name}: no {what} was measured", phase_subject(speed.name))
        return
    found.checked += 1
    if measured > bound:
        text = f"phase {speed.name}: {what} is {measured:.4g} {unit}, more than the bound {bound:g}"
        slowest = speed.slowest("itl" if rule is ITL_P99 else "ttft")
        subject = phase_subject(speed.name)
        figures = {"measured": measured, "bound": bound}
        found.violation(rule, subject, text, figures=figures, t_ns=slowest.start_ns, example=slowest.id)


def _at_least(
    rule: Rule, speed: Speed, measured: float | None, bound: float, unit: str, found: Findings
) -> None:
    if measured is None:
        found.gap(
            "not-measured", f"phase {speed.name}: no throughput was measured", phase_subject(speed.name)
        )
        return
    found.checked += 1
    if measured < bound:
        text = f"phase {speed.name}: throughput is {measured:.4g} {unit}, less than the bound {bound:g}"
        figures = {"measured": measured, "bound": bound}
        subject = phase_subject(speed.name)
        found.violation(rule, subject, text, figures=figures, t_ns=speed.window.start_ns)


def _recovery(history: History, speed: Speed, before: Speed, bound_s: float, found: Findings) -> None:
    """Judge the time from healing until a few requests in a row had a TTFT as in the phase before."""
    healed = [event.t_ns for event in history.events_of(FaultsHealed) if event.t_ns <= speed.window.start_ns]
    normal, subject = before.ttft.p99, phase_subject(speed.name)
    if not healed or normal is None or len(speed.ok) < IN_A_ROW:
        text = (
            f"phase {speed.name}: no recovery can be measured without a healing and {IN_A_ROW} good answers"
        )
        found.gap("no-recovery", text, subject)
        return
    found.checked += 1
    recovered = recovered_ns(speed.ok, normal)
    figures = {"normal_ms": normal, "bound": bound_s}
    if recovered is None:
        text = (
            f"phase {speed.name} never had {IN_A_ROW} TTFTs in a row within {normal:.4g} ms, "
            f"bound {bound_s:g} s after healing"
        )
        found.violation(RECOVERY, subject, text, figures=figures, t_ns=healed[-1])
    elif (seconds := (recovered - healed[-1]) / NS_PER_S) > bound_s:
        text = (
            f"phase {speed.name}: TTFT was within {normal:.4g} ms again {seconds:.2f} s after healing, "
            f"bound {bound_s:g} s"
        )
        figures["seconds"] = seconds
        found.violation(RECOVERY, subject, text, figures=figures, t_ns=healed[-1])


ORACLE = Oracle(
    NAME, "the server keeps to the scenario's bounds on speed", (REQUESTS, EVENTS, CLIENT), judge, RULES
)
