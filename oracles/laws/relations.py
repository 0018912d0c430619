"""All relations between series that vLLM moves together, tried on a history."""

from __future__ import annotations

from collections.abc import Iterable

from history.reader import History
from history.verdict import metric
from oracles.findings import Findings
from oracles.laws import caches, requests
from oracles.laws.law import Law, Release, broken_at, sides
from oracles.views.timeline import before_the_run, release
from oracles.views.windows import Window

LAWS = (*requests.LAWS, *caches.LAWS)
RULES = tuple(dict.fromkeys(law.rule for law in LAWS))


def at_each_scrape(history: History, windows: Iterable[Window], found: Findings) -> None:
    """Note which laws that hold always are broken, once for each stretch."""
    log, settled = history.metrics, [window.last for window in windows if window.settled]
    for law in LAWS:
        if law.at_rest or not law.binds(release(history)) or _broken_before(history, law):
            continue
        found.checked += 1
        for scrape, left, right in broken_at(log, law, settled):
            sample = (log.times_ns[scrape], left)
            found.violation(
                law.rule,
                metric(law.left[0].metric),
                _text(law, left, right),
                figures={"left": left, "right": right},
                samples=[sample],
                t_ns=sample[0],
            )


def _broken_before(history: History, law: Law) -> bool:
    """Whether it was broken when the run began, of a server that was there before."""
    first = before_the_run(history)
    if first is None or not len(history.metrics):
        return False
    left, right, known = sides(history.metrics, law)
    return bool(known[first]) and not law.holds(float(left[first]), float(right[first]))


def at_rest(window: Window, running: Release, found: Findings) -> None:
    """Note which laws are broken in a settled window, by more than requests explain that did not end well."""
    for law in LAWS:
        if not law.at_rest or not law.binds(running) or not (window.clean or law.unit):
            continue
        allowed = 0 if law.unit is None else window.spare.of(law.unit)
        left = [window.growth(term.metric, **term.labels) for term in law.left]
        right = [window.growth(term.metric, **term.labels) for term in law.right]
        known = [part for part in (*left, *right) if part is not None]
        if len(known) < len(left) + len(right):
            continue
        found.checked += 1
        one, other = sum(known[: len(left)]), sum(known[len(left) :])
        if not law.holds(one, other, allowed):
            figures = {"left": one, "right": other}
            window.violation(found, law.rule, _text(law, one, other), figures, law.left[0].metric)


def _text(law: Law, left: float, right: float) -> str:
    one, other = (
        " + ".join(_name(term.metric, term.labels) for term in side) for side in (law.left, law.right)
    )
    relation = "does not equal" if law.sense == "is" else "exceeds"
    return f"{one} ({left:g}) {relation} {other} ({right:g})"


def _name(series: str, labels: dict[str, str]) -> str:
    return " ".join((series.removeprefix("vllm:"), *labels.values()))
