"""Metrics of recorded runs as a production Prometheus would scrape them, for tests of the production alerts.

`python -m tests.support.recorded_metrics RUN_DIR...` packs runs into tests/data/production.
"""

from __future__ import annotations

import json
import lzma
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from history import layout
from history.metrics import MetricLog, Series
from history.metrics_subprocess import read_metrics
from history.reader import read_plan
from tests.support.source_tree import ROOT

DATA = ROOT / "tests" / "data" / "production"
SUFFIX = ".json.xz"
HISTOGRAMS = (
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:kv_offload_lookup_sync_delay_seconds",
)
IN_PRODUCTION = 'job="vllm",instance="host:8000"'
OF_A_RUN = 'job="server",run="r"'
"""Labels of a target, as Prometheus adds them."""
Values = list[float | None]


@dataclass(frozen=True, slots=True)
class RecordedMetrics:
    """A value for each scrape; None where the scrape failed or the series was absent."""

    release: str
    scenario: str
    up: list[int]
    """1 for a scrape that succeeded, else 0."""
    series: Mapping[str, Values]


def record_run(run_dir: Path) -> RecordedMetrics:
    """The series of a run that production rules may query."""
    plan, log = read_plan(run_dir), read_metrics(run_dir / layout.METRICS)
    times = [(t_ns, 1) for t_ns in log.times_ns] + [(failure.t_ns, 0) for failure in log.failures]
    up = [state for _, state in sorted(times)]
    found = {series.key: _values(series, log, up) for series in log if _is_needed(series)}
    return RecordedMetrics(plan.versions.server_name, plan.scenario.name, up, found)


def _is_needed(series: Series) -> bool:
    name = series.metric
    if name == "process_start_time_seconds" or name == "vllm:iteration_tokens_total_sum":
        return True
    if name.startswith(HISTOGRAMS):
        return not name.endswith("_sum")
    return name.startswith("vllm:") and not name.endswith(("_bucket", "_count", "_sum", "_info"))


def _values(series: Series, log: MetricLog, up: Sequence[int]) -> Values:
    each = iter(range(len(log)))
    values = (series.value(next(each)) if state else None for state in up)
    return [None if value is None or math.isnan(value) else value for value in values]


def write_recorded(recorded: RecordedMetrics, path: Path) -> None:
    """Write one file of tests/data/production."""
    path.write_bytes(lzma.compress(json.dumps(asdict(recorded)).encode(), preset=9))


def read_recorded(name: str) -> RecordedMetrics:
    """A file of tests/data/production by its name without suffix."""
    content = json.loads(lzma.decompress((DATA / f"{name}{SUFFIX}").read_bytes()))
    return RecordedMetrics(**content)


def input_series(recorded: RecordedMetrics, target: str = IN_PRODUCTION) -> list[dict[str, str]]:
    """The series for a test of promtool, one value a scrape, with the labels of a target."""
    series = [{"series": f"up{{{target}}}", "values": " ".join(map(str, recorded.up))}]
    series += [
        {"series": _with_target(key, target), "values": " ".join(_notation(values))}
        for key, values in recorded.series.items()
    ]
    return series


def _with_target(key: str, target: str) -> str:
    name, brace, rest = key.partition("{")
    return f"{name}{{{target},{rest}" if brace else f"{name}{{{target}}}"


def _notation(values: Values) -> list[str]:
    """Prometheus marks a series stale in the first scrape without it."""
    found, before = [], None
    for value in values:
        missing = "_" if before is None else "stale"
        found.append(missing if value is None else repr(value))
        before = value
    return found


def main(run_dirs: Sequence[str]) -> None:
    """Pack runs."""
    DATA.mkdir(exist_ok=True)
    for run_dir in run_dirs:
        recorded = record_run(Path(run_dir))
        path = DATA / f"{recorded.scenario}-{recorded.release}{SUFFIX}"
        write_recorded(recorded, path)
        sys.stdout.write(f"{path}: {len(recorded.series)} series, {len(recorded.up)} scrapes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
