"""The scrapes of a soak, four a second, as the scraper writes them: what changed since the one before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.soak.soak_plan import MONO_SHIFT_NS, START_NS
from benchmarks.soak.soak_requests import Columns, Floats, Ints
from benchmarks.soak.soak_series import ENGINE_LABELS, Growth, growths
from history.metrics import series_key
from history.records import ScrapeLine

PERIOD_NS = 250_000_000
TOOK_US = 9_000
BATCH = 2_000
"""Scrapes encoded at a time."""


def write_scrapes(path: Path, load: Columns, first_ns: int, last_ns: int) -> int:
    """Write the scrapes from a time to another; how many there were."""
    times = np.arange(first_ns, last_ns, PERIOD_NS)
    keys, columns = _columns(load, times)
    encoder = msgspec.json.Encoder()
    before = np.full(len(keys), np.nan)
    with path.open("wb") as file:
        for start in range(0, len(times), BATCH):
            values = np.stack([column[start : start + BATCH] for column in columns], axis=1)
            changed = values != np.vstack([before, values[:-1]])
            for index, t_ns in enumerate(times[start : start + BATCH].tolist()):
                at = np.flatnonzero(changed[index])
                samples = zip(at.tolist(), values[index][at].tolist(), strict=True)
                line = ScrapeLine(
                    t_ns=t_ns,
                    mono_ns=t_ns - MONO_SHIFT_NS,
                    took_us=TOOK_US,
                    incarnation=START_NS / 1e9,
                    new=keys if start + index == 0 else [],
                    changed=dict(samples),
                    gone=[],
                    error=None,
                )
                file.write(encoder.encode(line) + b"\n")
            before = values[-1]
    return len(times)


def _columns(load: Columns, times: Ints) -> tuple[list[str], list[Floats]]:
    """The names of the series, and the values of each at every scrape."""
    ends = load.end_ns()
    order = np.argsort(ends)
    # A scrape shows what was so when it began; what ended before is in it.
    ended = np.searchsorted(ends[order], times)
    keys: list[str] = []
    columns: list[Floats] = []
    for growth in (*growths(load), *_gauges()):
        keys.append(growth.key)
        columns.append(_column(growth, order, ended))
    running = np.searchsorted(np.sort(load.start_ns), times) - ended
    columns[keys.index(RUNNING)] = running.astype(np.float64)
    columns[keys.index(USAGE)] = running / 64
    return keys, columns


def _column(growth: Growth, order: Ints, ended: Ints) -> Floats:
    if growth.amounts is None:
        return np.full(len(ended), growth.base)
    total = np.concatenate([[0.0], np.cumsum(growth.amounts[order], dtype=np.float64)])
    return growth.base + total[ended]


RUNNING = series_key("vllm:num_requests_running", ENGINE_LABELS)
USAGE = series_key("vllm:kv_cache_usage_perc", ENGINE_LABELS)


def _gauges() -> Iterator[Growth]:
    yield Growth(RUNNING)
    yield Growth(USAGE)
