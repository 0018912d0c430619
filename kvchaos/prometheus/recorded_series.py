"""A stored run as OpenMetrics text: what Prometheus would have scraped of server and suite. Pure.

`promtool tsdb create-blocks-from openmetrics` makes a database of it. Stored runs of `--prometheus` have one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from history.metrics import parse_key
from history.reader import History
from kvchaos.exporter.run_replay import RunReplay
from kvchaos.openmetrics_text import label_text
from kvchaos.prometheus.program import RUN_LABEL, SERVER_JOB, SUITE_JOB

NS_PER_S = 1_000_000_000
STEP_S = 1.0
"""From sample to sample, as in Prometheus' configuration."""
MOST_SAMPLES = 3600
"""Of each series; in a longer run the step is larger."""


def step_s(history: History) -> float:
    """Seconds from sample to sample."""
    times = history.metrics.times_ns
    duration_s = (times[-1] - times[0]) / NS_PER_S if times else 0.0
    return max(STEP_S, duration_s / MOST_SAMPLES)


def openmetrics_lines(history: History) -> Iterator[str]:
    """All series, each in order of time, with the labels that Prometheus adds to a target."""
    log, step_ns = history.metrics, round(step_s(history) * NS_PER_S)
    yield from _up(history)
    yield from _server(history, _thinned(log.times_ns, step_ns))
    # The suite goes on while the server does not answer.
    times_ns = sorted([*log.times_ns, *(failure.t_ns for failure in log.failures)])
    yield from _suite(history, [times_ns[number] for number in _thinned(times_ns, step_ns)])
    yield "# EOF\n"


def _thinned(times_ns: Sequence[int], step_ns: int) -> list[int]:
    """Numbers of the times, at most one a step, and the last."""
    chosen: list[int] = []
    for number, t_ns in enumerate(times_ns):
        if not chosen or t_ns - times_ns[chosen[-1]] >= step_ns:
            chosen.append(number)
    last = len(times_ns) - 1
    return [*chosen, last] if chosen and chosen[-1] != last else chosen


def _target(history: History, job: str) -> dict[str, str]:
    return {"job": job, "instance": job, RUN_LABEL: history.plan.run_id}


def _line(name: str, labels: dict[str, str], value: float, t_ns: int) -> str:
    return f"{name}{{{label_text(labels)}}} {value!r} {t_ns / NS_PER_S:.3f}\n"


def _up(history: History) -> Iterator[str]:
    log = history.metrics
    states = [(t_ns, 1.0) for t_ns in log.times_ns] + [(failure.t_ns, 0.0) for failure in log.failures]
    labels = _target(history, SERVER_JOB)
    for t_ns, state in sorted(dict(states).items()):
        yield _line("up", labels, state, t_ns)


def _server(history: History, scrapes: Sequence[int]) -> Iterator[str]:
    target = _target(history, SERVER_JOB)
    for series in history.metrics:
        name, own = parse_key(series.key)
        labels = {**own, **target}
        for scrape in scrapes:
            value = series.value(scrape)
            if value is not None and not math.isnan(value):
                yield _line(name, labels, value, history.metrics.times_ns[scrape])


def _suite(history: History, times_ns: Sequence[int]) -> Iterator[str]:
    target = _target(history, SUITE_JOB)
    replay = RunReplay(history)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[int, float]]] = defaultdict(list)
    for t_ns in times_ns:
        for key, value in replay.samples(t_ns).items():
            found[key].append((t_ns, value))
    for (name, own), samples in found.items():
        labels = {**dict(own), **target}
        for t_ns, value in samples:
            yield _line(name, labels, value, t_ns)
