"""Alterations of the server's metrics, in the suite's own scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import msgspec

from history import layout
from history.jsonl import read_lines
from history.metrics import MetricLog, parse_key
from history.reader import History
from history.records import ABANDONED, RequestError, ScrapeLine
from kvchaos.selftest.alterations.alteration import (
    answered_request,
    with_limits,
    with_request,
    with_scenario,
    with_server,
)
from oracles import accounting, counters, metrics_crosscheck, progress, token_crosscheck
from oracles.findings import Alteration
from oracles.token_crosscheck import BY_SOURCE, CACHED, EXTERNAL, SUCCESS
from oracles.views.timeline import NS_PER_S

HUGE = 1e6
LOADED = ("vllm:kv_offload_load_bytes_total", "vllm:kv_offload_total_bytes_total")
"""Bytes loaded from the tier, under the names that releases have for them."""
Change = Callable[[float], float]


def changed_at_the_end(history: History, metrics: tuple[str, ...], change: Change, **labels: str) -> History:
    """The history in which these series have another value in the last scrape."""
    lines = list(read_lines(history.run_dir / layout.METRICS, ScrapeLine))
    last = max(number for number, line in enumerate(lines) if line.error is None)
    values: dict[int, float | str] = {}
    keys: list[str] = []
    for line in lines[: last + 1]:
        keys += line.new
        values |= line.changed
    changed = dict(lines[last].changed)
    for index, key in enumerate(keys):
        metric, its = parse_key(key)
        value = values.get(index)
        fits = metric in metrics and all(its.get(name) == each for name, each in labels.items())
        if fits and isinstance(value, float | int):
            changed[index] = change(float(value))
    lines[last] = msgspec.structs.replace(lines[last], changed=changed)
    return replace(history, metrics=MetricLog.from_lines(lines))


def _metric(rule_metric: tuple[str, ...], change: Change, **labels: str) -> Callable[[History], History]:
    return lambda history: changed_at_the_end(history, rule_metric, change, **labels)


def _more(value: float) -> float:
    return value + HUGE


def _none(_: float) -> float:
    return 0.0


def _frozen(history: History, metrics: tuple[str, ...], *, running: float, waiting: float) -> History:
    """A history whose counters stop at the longest phase, with these values of the gauges."""
    longest = max(history.phases(), key=lambda phase: phase.end_ns - phase.start_ns)
    lines = list(_frozen_lines(history, longest.start_ns, metrics, running, waiting))
    quarter_s = (longest.end_ns - longest.start_ns) / NS_PER_S / 4
    return with_limits(replace(history, metrics=MetricLog.from_lines(lines)), stall_s=quarter_s)


def _frozen_lines(
    history: History, begin_ns: int, metrics: tuple[str, ...], running: float, waiting: float
) -> Iterator[ScrapeLine]:
    keys: list[str] = []
    for line in read_lines(history.run_dir / layout.METRICS, ScrapeLine):
        keys += line.new
        if line.t_ns < begin_ns or line.error is not None:
            yield line
            continue
        names = {index: parse_key(key)[0] for index, key in enumerate(keys)}
        changed = {index: value for index, value in line.changed.items() if names[index] not in metrics}
        for index, name in names.items():
            if name in (progress.RUNNING, progress.WAITING):
                changed[index] = running if name == progress.RUNNING else waiting
        yield msgspec.structs.replace(line, changed=changed)


def _another_start(history: History) -> History:
    lines = list(read_lines(history.run_dir / layout.METRICS, ScrapeLine))
    half = len(lines) // 2
    later = [
        msgspec.structs.replace(line, incarnation=None if line.incarnation is None else line.incarnation + 1)
        for line in lines[half:]
    ]
    return replace(history, metrics=MetricLog.from_lines([*lines[:half], *later]))


def _only_prometheus_has_it(history: History) -> History:
    """Prometheus has what the suite has, and a series more."""
    first, *others = read_lines(history.run_dir / layout.METRICS, ScrapeLine)
    more = msgspec.structs.replace(
        first, new=[*first.new, "vllm:made_up_total"], changed={**first.changed, len(first.new): 1.0}
    )
    known, lines = len(first.new), [more]
    for line in others:
        # The series of later lines have a number more than they had.
        moved = {_moved(index, known): value for index, value in line.changed.items()}
        gone = [_moved(index, known) for index in line.gone]
        lines.append(msgspec.structs.replace(line, changed=moved, gone=gone))
    return replace(history, prometheus=MetricLog.from_lines(lines))


def _moved(index: int, known: int) -> int:
    return index if index < known else index + 1


def _prefix_caching_is_off(history: History) -> History:
    return with_server(history, extra_args=("--no-enable-prefix-caching",))


def _all_prompts_are_new(history: History) -> History:
    workloads = {
        name: workload.model_copy(update={"kind": "unique"})
        for name, workload in history.plan.scenario.workloads.items()
    }
    return with_scenario(history, workloads=workloads)


def _abandoned_and_not_counted(history: History) -> History:
    """A client leaves in mid-answer, and the server counts one request less."""
    left = RequestError(kind=ABANDONED, status=None, message="left")
    fewer = changed_at_the_end(history, (SUCCESS,), lambda value: max(value - 1, 0.0))
    return with_request(fewer, answered_request(fewer), outcome="aborted", error=left)


ALTERATIONS = (
    Alteration(
        accounting.CACHED_EXCEEDS, "more prompt tokens are cached than there are", _metric((CACHED,), _more)
    ),
    Alteration(
        accounting.SOURCE_RANGE,
        "more prompt tokens are computed than there are",
        _metric((BY_SOURCE,), _more, source="local_compute"),
    ),
    Alteration(
        accounting.TIERS_SUM,
        "the tiers have more cached tokens than there are",
        _metric((accounting.CACHED_BY_TIER,), _more),
        accounting.TIERS_SINCE,
    ),
    Alteration(
        accounting.LOOKUPS_EXCEED_MISSES,
        "a block that the device has is looked up in the tier, too",
        _metric((f"{EXTERNAL}_queries_total",), lambda value: value + 32),
        accounting.MISSES_SINCE,
    ),
    Alteration(accounting.CACHE_OFF, "a server without prefix cache has hits there", _prefix_caching_is_off),
    Alteration(accounting.NEW_PROMPT, "prompts that are all new are found in a cache", _all_prompts_are_new),
    Alteration(
        token_crosscheck.ABANDONED_FINISHED,
        "the server does not count a request that its client left",
        _abandoned_and_not_counted,
    ),
    Alteration(
        token_crosscheck.LOOKED_UP,
        "more tokens are looked up in the tier than prompts have",
        _metric((f"{EXTERNAL}_queries_total",), _more),
    ),
    Alteration(
        token_crosscheck.CLAIMED, "tokens come from the tier, but no byte does", _metric(LOADED, _none)
    ),
    Alteration(
        token_crosscheck.USAGE_CLAIMED, "tokens are cached, and no byte was loaded", _metric(LOADED, _none)
    ),
    Alteration(counters.RESTARTED, "the server has started again by itself", _another_start),
    Alteration(
        progress.LIVELOCK,
        "the engine looks up blocks and computes no token",
        partial(_frozen, metrics=progress.TOKENS, running=0.0, waiting=1.0),
    ),
    Alteration(
        progress.DEADLOCK,
        "requests wait and none runs",
        partial(_frozen, metrics=(*progress.TOKENS, *progress.VAIN_WORK), running=0.0, waiting=1.0),
    ),
    Alteration(metrics_crosscheck.ADDITIONAL, "only Prometheus has a series", _only_prometheus_has_it),
)
