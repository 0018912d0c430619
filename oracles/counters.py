"""Do counters only grow, and stay numbers?"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from history.columnar import Values
from history.metrics import MetricLog, Series
from history.reader import History
from history.verdict import OracleResult, log_line, metric, request
from oracles.findings import EVENTS, LOG, METRICS, REQUESTS, Findings, Oracle, Rule
from oracles.laws import generic
from oracles.laws.families import MISSING, judge_exported, without_law
from oracles.views.incarnations import deaths, incarnations, outage_at
from oracles.views.timeline import lines_before_stop, scraped_to_the_end

NAME = "counters"
COUNTER_SUFFIXES = ("_total", "_count", "_sum", "_bucket")
REFUSAL = "Counters can only be incremented"
"""How prometheus_client refuses to lower a counter; the server dies of it or answers with it."""
OWN_PREFIX = "vllm:"
START_TIME = "process_start_time_seconds"
MOST_FAILED = 0.1
"""Share of the scrapes. A server that a fault pauses fails one in fifty."""
Change = tuple[int, float]
"""Number of a scrape and the value from there on."""
UNSEEN = "the server's own counters were never scraped, or the scrapes end before the load does"
NOT_A_NUMBER = Rule(
    "counters/not-a-number",
    "No counter is NaN or infinite, no gauge is NaN.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
NEGATIVE = Rule("counters/negative", "No counter is below 0.", "Prometheus", (METRICS,), UNSEEN)
DECREASED = Rule(
    "counters/decreased",
    "Within one incarnation of the server no counter decreases.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
RESTARTED = Rule(
    "counters/unexplained-restart",
    "The server's start time changes only when the suite restarts the server.",
    "Prometheus",
    (METRICS, EVENTS),
    UNSEEN,
)
NOT_CUMULATIVE = Rule(
    "counters/buckets-not-cumulative",
    "No bucket of a histogram is smaller than the bucket below it.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
COUNT_DIFFERS = Rule(
    "counters/count-not-infinity-bucket",
    "The count of a histogram equals its +Inf bucket.",
    "Prometheus",
    (METRICS,),
    UNSEEN,
)
DECREMENT = Rule(
    "counters/decrement-refused",
    "The server never tries to lower a counter.",
    "Prometheus",
    (REQUESTS, LOG),
)
RULES = (
    NOT_A_NUMBER,
    NEGATIVE,
    DECREASED,
    RESTARTED,
    NOT_CUMULATIVE,
    COUNT_DIFFERS,
    DECREMENT,
    *generic.RULES,
    MISSING,
)


def judge(history: History) -> OracleResult:
    """Judge counters and histograms within one incarnation of the server.

    No counter decreases, is negative or stops being a number. Histograms stay cumulative. The server never
    tried to lower a counter.
    """
    found = Findings(NAME)
    log = history.metrics
    counters = [series for series in log if series.metric.endswith(COUNTER_SUFFIXES)]
    for series in counters:
        _judge_counter(log, series, found)
    for series in log:
        if not series.metric.endswith(COUNTER_SUFFIXES):
            _judge_gauge(log, series, found)
    _judge_histograms(log, counters, found)
    generic.judge(history, found)
    judge_exported(history, found)
    _restarts(history, found)
    _refusals(history, found)
    _failed_scrapes(history, found)
    if not any(series.metric.startswith(OWN_PREFIX) for series in counters):
        found.gap("never-scraped", "the server's own counters were never scraped")
    elif not scraped_to_the_end(history):
        found.gap("scrapes-end-early", "the scrapes end before the load does")
    unbound = without_law(log)
    named = f"; no law covers {', '.join(unbound)}" if unbound else ""
    passed = f"none of {len(counters)} counters decreased in {found.checked} values{named}"
    return found.result(passed, counters=len(counters), values=found.checked, without_law=len(unbound))


def _judge_counter(log: MetricLog, series: Series, found: Findings) -> None:
    at, values = series.present()
    found.checked += len(at)
    odd = ~np.isfinite(values) | (values < 0)
    odd[1:] |= values[1:] < values[:-1]
    for index in np.flatnonzero(odd).tolist():
        change = int(at[index]), float(values[index])
        if not math.isfinite(change[1]):
            _violation(found, NOT_A_NUMBER, log, series, f"is {change[1]:g}, no finite number", [change])
        elif change[1] < 0:
            _violation(found, NEGATIVE, log, series, f"is negative: {change[1]:g}", [change])
        before = (int(at[index - 1]), float(values[index - 1])) if index else change
        if change[1] < before[1] and _same_life(log, before[0], change[0]):
            what = f"decreased from {before[1]:g} to {change[1]:g}"
            _violation(found, DECREASED, log, series, what, [before, change])


def _judge_gauge(log: MetricLog, series: Series, found: Findings) -> None:
    at, values = series.present()
    for index in np.flatnonzero(np.isnan(values)).tolist():
        change = int(at[index]), float(values[index])
        _violation(found, NOT_A_NUMBER, log, series, f"is {change[1]:g}, no finite number", [change])


def _same_life(log: MetricLog, first: int, last: int) -> bool:
    return log.incarnations[first] == log.incarnations[last]


def _restarts(history: History, found: Findings) -> None:
    """Counters restart from 0 only with an incarnation of the server that the conductor started."""
    log = history.metrics
    begun_ns = [life.start_ns for life in incarnations(history)]
    for scrape in range(1, len(log)):
        if _same_life(log, scrape - 1, scrape):
            continue
        found.checked += 1
        before_ns, now_ns = log.times_ns[scrape - 1], log.times_ns[scrape]
        if not any(before_ns < t_ns < now_ns for t_ns in begun_ns):
            text = (
                "the server's start time changed, but the suite did not restart it; counters restarted from 0"
            )
            found.violation(RESTARTED, metric(START_TIME), text, t_ns=now_ns)


def _judge_histograms(log: MetricLog, counters: list[Series], found: Findings) -> None:
    buckets: dict[tuple[str, frozenset[tuple[str, str]]], list[Series]] = defaultdict(list)
    counts: dict[tuple[str, frozenset[tuple[str, str]]], Series] = {}
    for series in counters:
        if series.metric.endswith("_bucket"):
            others = frozenset(item for item in series.labels.items() if item[0] != "le")
            buckets[series.metric.removesuffix("_bucket"), others].append(series)
        elif series.metric.endswith("_count"):
            counts[series.metric.removesuffix("_count"), frozenset(series.labels.items())] = series
    for key, group in buckets.items():
        group.sort(key=lambda series: float(series.labels.get("le", "+Inf")))
        _judge_histogram(log, group, counts.get(key), found)


def _judge_histogram(log: MetricLog, buckets: list[Series], count: Series | None, found: Findings) -> None:
    """Look at the whole histogram at every scrape at which a part of it changed."""
    members = [*buckets, count] if count is not None else buckets
    changed = np.zeros(len(log), np.bool_)
    odd = np.zeros(len(log), np.bool_)
    below: Values | None = None
    for index, series in enumerate(members):
        changed[series.at] = True
        values, there = series.at_each(len(log))
        odd |= ~there
        if below is None:
            odd |= values < 0
        else:
            odd |= values < below if index < len(buckets) else values != below
        below = values
    found.checked += int(changed.sum())
    for scrape in np.flatnonzero(odd & changed).tolist():
        _judge_moment(log, scrape, members, [series.value(scrape) for series in members], len(buckets), found)


def _judge_moment(
    log: MetricLog,
    scrape: int,
    members: list[Series],
    values: list[float | None],
    buckets: int,
    found: Findings,
) -> None:
    below = 0.0
    for series, value in zip(members[:buckets], values[:buckets], strict=True):
        if value is None:
            continue
        if value < below:
            what = f"is {value:g}, less than the bucket below it ({below:g})"
            _violation(found, NOT_CUMULATIVE, log, series, what, [(scrape, value)])
        below = value
    for series, value in zip(members[buckets:], values[buckets:], strict=True):
        if value is not None and value != below:
            what = f"is {value:g}, but its +Inf bucket is {below:g}"
            _violation(found, COUNT_DIFFERS, log, series, what, [(scrape, value)])


def _refusals(history: History, found: Findings) -> None:
    for record in history.requests:
        if record.error is not None and REFUSAL in record.error.message:
            message = record.error.message[:200]
            text = f"request {record.id} failed, since the server tried to lower a counter: {message}"
            found.violation(DECREMENT, request(record.id), text, t_ns=record.start_ns)
    for number, line in enumerate(lines_before_stop(history), start=1):
        if REFUSAL in line:
            text = f"the server tried to lower a counter: {line.strip()[:200]}"
            found.violation(DECREMENT, log_line(number), text)


def _violation(
    found: Findings, rule: Rule, log: MetricLog, series: Series, what: str, changes: list[Change]
) -> None:
    samples = [(log.times_ns[scrape], value) for scrape, value in changes]
    found.violation(rule, metric(series.key), f"{series.key} {what}", samples=samples, t_ns=samples[-1][0])


def _failed_scrapes(history: History, found: Findings) -> None:
    """Note a gap where many scrapes failed, since anything may have happened between them.

    A server that has ended need not answer.
    """
    if deaths(history):
        return
    failed = [
        failure
        for failure in history.metrics.failures
        if outage_at(history, failure.t_ns, failure.end_ns) is None
    ]
    tried = len(history.metrics) + len(failed)
    if len(failed) > MOST_FAILED * tried:
        text = f"{len(failed)} of {tried} scrapes failed while the server was up: {failed[0].error[:200]}"
        found.gap("scrapes-failed", text, figures={"failed": len(failed), "tried": tried})


ORACLE = Oracle(NAME, "counters never decrease and stay numbers", (METRICS, REQUESTS, LOG), judge, RULES)
