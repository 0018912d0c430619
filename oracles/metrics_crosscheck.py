"""Do Prometheus and the suite's own scrapes agree on the server's metrics?

A counter that Prometheus scrapes must lie between the suite's values just before and just after. A gauge can
change in between, so only vLLM's gauges are compared, and only while no request is in flight.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from history.columnar import Flags, Values
from history.events import PrometheusRead
from history.metrics import Series, series_key
from history.reader import History
from history.verdict import SERVER, Figures, OracleResult, metric
from oracles.counters import COUNTER_SUFFIXES, OWN_PREFIX
from oracles.findings import EVENTS, METRICS, PROMETHEUS, REQUESTS, Findings, Oracle, Rule
from oracles.views.timeline import NS_PER_S, BusyTimes

NAME = "metrics-crosscheck"
MARGIN_NS = 10_000_000
"""Prometheus writes times in ms, and moves them by 2 ms where its scrapes then lie evenly."""
NEAR_NS = 2 * NS_PER_S
"""It scrapes once a second. What the suite saw farther than this from any of that, it alone saw."""
LEAST_SHARE = 0.5
"""Least share of the suite's scrapes; with fewer scrapes of Prometheus nothing can be compared."""


def _rule(name: str, law: str) -> Rule:
    reads = (PROMETHEUS, METRICS, REQUESTS)
    return Rule(f"{NAME}/{name}", law, "Prometheus", reads, "Prometheus scraped less than half of the run")


INCARNATION = _rule("incarnation", "Prometheus and the suite scrape the same incarnations of the server.")
MISSING = _rule(
    "series-missing", "Prometheus has each series that the suite scraped just before and just after."
)
ADDITIONAL = _rule(
    "series-additional", "Prometheus has no series that the suite scraped neither just before nor just after."
)
VALUE = _rule(
    "value", "A counter that Prometheus scrapes lies between the suite's values just before and just after."
)
RULES = (INCARNATION, MISSING, ADDITIONAL, VALUE)


def judge(history: History) -> OracleResult:
    """Judge every value that Prometheus scraped by the two values that the suite scraped around it.

    Both must have the same series and the same incarnations of the server.
    """
    found = Findings(NAME)
    if not len(history.prometheus):
        found.gap("not-scraped" if history.events_of(PrometheusRead) else "not-read", _silence(history))
        return found.result("")
    if not len(history.metrics):
        found.gap("no-scrapes", "all scrapes of the suite failed")
        return found.result("")
    both = _Both(history)
    share = both.share_scraped()
    if share < LEAST_SHARE:
        text = f"Prometheus scraped near {share:.0%} of the suite's scrapes; {LEAST_SHARE:.0%} are needed"
        found.gap("too-few-scrapes", text, figures={"share": share, "bound": LEAST_SHARE})
    both.judge_incarnations(found)
    for key in sorted(both.keys):
        both.judge_series(key, found)
    agreement, figures = both.agreement()
    return found.result(f"{found.checked} values agree; {agreement}", values=found.checked, **figures)


def _silence(history: History) -> str:
    errors = [event.data.error for event in history.events_of(PrometheusRead)]
    if not errors:
        return "the suite never read the samples of Prometheus"
    failed = len(history.prometheus.failures)
    return f"there is no sample of Prometheus: {errors[-1] or f'all {failed} of its scrapes failed'}"


@dataclass(frozen=True, slots=True)
class _Around:
    """One series at the scrapes of Prometheus that are compared, and at the suite's before and after each."""

    of_prometheus: Values
    before: Values
    after: Values
    in_prometheus: Flags
    is_before: Flags
    is_after: Flags

    def apart(self) -> Flags:
        """Where Prometheus saw a value that cannot lie between the other two."""
        low, high = np.minimum(self.before, self.after), np.maximum(self.before, self.after)
        odd = np.isnan(self.before) & np.isnan(self.after)
        within = np.where(
            odd, np.isnan(self.of_prometheus), (self.of_prometheus >= low) & (self.of_prometheus <= high)
        )
        half_odd = np.isnan(low) & ~odd
        return self.in_prometheus & self.is_before & self.is_after & ~within & ~half_odd

    def missing(self) -> Flags:
        """Where Prometheus lacks it."""
        return self.is_before & self.is_after & ~self.in_prometheus

    def additional(self) -> Flags:
        """Where only Prometheus has it."""
        return self.in_prometheus & ~self.is_before & ~self.is_after


class _Both:
    """Two logs of the same server, laid side by side."""

    def __init__(self, history: History) -> None:
        self._suite = history.metrics
        self._other = history.prometheus
        self._busy = BusyTimes(history.requests)
        pairs = list(self._pairs())
        self._at = np.array([at for at, _, _ in pairs], np.intp)
        self._before = np.array([before for _, before, _ in pairs], np.intp)
        self._after = np.array([after for _, _, after in pairs], np.intp)

    def _pairs(self) -> Iterator[tuple[int, int, int]]:
        """Scrapes of Prometheus with the suite's last one before and its first one after."""
        for at, began_ns in enumerate(self._other.times_ns):
            before = self._suite.scrape_at(began_ns - MARGIN_NS)
            after = bisect_left(self._suite.times_ns, self._other.ends_ns[at] + MARGIN_NS)
            if before is not None and after < len(self._suite):
                yield at, before, after

    @cached_property
    def keys(self) -> set[str]:
        return self._of_suite.keys() | self._of_other.keys()

    @cached_property
    def _of_suite(self) -> dict[str, Series]:
        return {_name(series): series for series in self._suite}

    @cached_property
    def _of_other(self) -> dict[str, Series]:
        return {_name(series): series for series in self._other}

    @cached_property
    def _one_life(self) -> Flags:
        """Where all three scrapes are of the same life of the server."""
        suite = self._suite.incarnations
        return np.array(
            [
                suite[before] == self._other.incarnations[at] == suite[after]
                for at, before, after in zip(self._at, self._before, self._after, strict=True)
            ],
            np.bool_,
        )

    @cached_property
    def _idle(self) -> Flags:
        """Where no request was on its way, from the suite's scrape before to its scrape after."""
        times, ends = self._suite.times_ns, self._suite.ends_ns
        return np.array(
            [
                not self._busy.meets(times[before], ends[after])
                for before, after in zip(self._before, self._after, strict=True)
            ],
            np.bool_,
        )

    def judge_incarnations(self, found: Findings) -> None:
        """Prometheus cannot have seen another life of the server in the midst of one."""
        suite, reported = self._suite.incarnations, set[float | None]()
        for at, before, after in zip(self._at, self._before, self._after, strict=True):
            life = self._other.incarnations[at]
            if suite[before] == suite[after] and life not in (suite[before], *reported):
                reported.add(life)
                text = (
                    f"Prometheus scraped a server started at {life}, the suite one started at {suite[before]}"
                )
                found.violation(INCARNATION, SERVER, text, t_ns=self._other.times_ns[at])

    def judge_series(self, key: str, found: Findings) -> None:
        around = self._around(key)
        compared = self._one_life & self._comparable(key)
        found.checked += int((compared & around.in_prometheus).sum())
        for rule, wrong, what in (
            (MISSING, self._one_life & around.missing(), "Prometheus lacks the series"),
            (ADDITIONAL, self._one_life & around.additional(), "only Prometheus has the series"),
            (VALUE, compared & around.apart(), ""),
        ):
            self._report(rule, key, around, wrong, what, found)

    def _comparable(self, key: str) -> Flags:
        metric = key.partition("{")[0]
        if metric.endswith(COUNTER_SUFFIXES):
            return np.ones(len(self._at), np.bool_)
        return self._idle if metric.startswith(OWN_PREFIX) else np.zeros(len(self._at), np.bool_)

    def _around(self, key: str) -> _Around:
        suite, there = _at_each(self._of_suite.get(key), len(self._suite))
        other, there_too = _at_each(self._of_other.get(key), len(self._other))
        return _Around(
            of_prometheus=other[self._at],
            before=suite[self._before],
            after=suite[self._after],
            in_prometheus=there_too[self._at],
            is_before=there[self._before],
            is_after=there[self._after],
        )

    def _report(
        self, rule: Rule, key: str, around: _Around, wrong: Flags, what: str, found: Findings
    ) -> None:
        """One violation, at the first scrape at which it is wrong."""
        indexes = np.flatnonzero(wrong).tolist()
        if not indexes:
            return
        first = indexes[0]
        at, before, after = self._at[first], self._before[first], self._after[first]
        samples = [
            (self._suite.times_ns[before], float(around.before[first])),
            (self._other.times_ns[at], float(around.of_prometheus[first])),
            (self._suite.times_ns[after], float(around.after[first])),
        ]
        reported = what or (
            f"Prometheus has {samples[1][1]:.12g}, "
            f"the suite {samples[0][1]:.12g} before and {samples[2][1]:.12g} after"
        )
        text = f"{key}: {reported} (at {len(indexes)} of its {len(self._at)} scrapes)"
        figures = {"at": len(indexes), "scrapes": len(self._at)}
        found.violation(rule, metric(key), text, figures=figures, samples=samples, t_ns=samples[1][0])

    def share_scraped(self) -> float:
        """Share of the suite's scrapes that have a scrape of Prometheus near them."""
        ours, theirs = np.array(self._suite.times_ns), np.array(self._other.times_ns)
        index = np.searchsorted(theirs, ours)
        left = ours - theirs[np.maximum(index - 1, 0)]
        right = theirs[np.minimum(index, len(theirs) - 1)] - ours
        return float((np.minimum(np.abs(left), np.abs(right)) <= NEAR_NS).mean())

    def agreement(self) -> tuple[str, Figures]:
        """How much of it was compared, for people and by name."""
        suite, failures = self._suite, self._other.failures
        # Before the suite looked, the server was not up yet.
        failed = sum(failure.t_ns > suite.times_ns[0] for failure in failures)
        started = len(set(self._other.incarnations))
        scraped_ns = np.clip(self._other.times_ns, suite.times_ns[0], suite.times_ns[-1])
        gaps = np.diff(scraped_ns, prepend=suite.times_ns[0], append=suite.times_ns[-1])
        longest_s = float(gaps.max()) / NS_PER_S
        text = (
            f"Prometheus scraped {len(self._at)} times with {failed} failures, a longest gap of "
            f"{longest_s:.1f} s and {started} incarnation{'s' * (started != 1)} of the server"
        )
        figures = {"scrapes": len(self._at), "failed": failed, "lives": started, "longest_gap_s": longest_s}
        return text, figures


def _name(series: Series) -> str:
    """Prometheus takes an empty label for none."""
    return series_key(series.metric, {name: value for name, value in series.labels.items() if value})


def _at_each(series: Series | None, scrapes: int) -> tuple[Values, Flags]:
    if series is None:
        return np.full(scrapes, np.nan), np.zeros(scrapes, np.bool_)
    return series.at_each(scrapes)


ORACLE = Oracle(
    NAME,
    "Prometheus and the suite scrape the same metrics of the server",
    (PROMETHEUS, METRICS, REQUESTS, EVENTS),
    judge,
    RULES,
)
