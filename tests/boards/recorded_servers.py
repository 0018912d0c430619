"""Recorded runs as servers in production, scraped every 30 s, and the recording rules over their metrics."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from prometheus_api_client import PrometheusConnect

from history import layout
from kvchaos.prometheus.program import DATA
from tests.prometheus.stored_prometheus import reopened
from tests.support.recorded_metrics import RecordedMetrics, read_recorded
from tests.support.source_tree import ROOT

RULES = ROOT / "compose/prometheus/production-recording.yml"
SERVERS = {"host-a:8000": "evict-storm-0.32.0", "host-b:8000": "kill-and-restart-0.32.0"}
"""Recorded run by address. They end at the same time."""
BEGIN_S = 1_760_000_000 // 60 * 60
SCRAPE_S = 30
STEP_S = 60
CREATE = ("tsdb", "create-blocks-from", "--max-block-duration=2000h", "openmetrics")
LIMIT_S = 120


def end_s() -> float:
    """When the last scrape was."""
    return BEGIN_S + SCRAPE_S * max(len(read_recorded(name).up) for name in SERVERS.values())


@contextmanager
def recorded_servers(promtool: Path, folder: Path) -> Iterator[PrometheusConnect]:
    """A Prometheus with the metrics of the servers and all recorded series."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    later = [rule for rule in rules if any(each["record"] in rule["expr"] for each in rules)]
    earlier = [rule for rule in rules if rule not in later]
    _add(promtool, folder, _exposition({at: read_recorded(name) for at, name in SERVERS.items()}))
    for some in (earlier, later):
        with reopened(folder, folder) as prometheus:
            lines = [line for rule in some for line in _recorded(prometheus, rule)]
        _add(promtool, folder, lines)
    with reopened(folder, folder) as prometheus:
        yield prometheus


def _recorded(prometheus: PrometheusConnect, rule: Mapping[str, Any]) -> Iterator[str]:
    """The samples of a recording rule. promtool could write them, but it needs a block for each rule."""
    begin, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (BEGIN_S, end_s()))
    for series in prometheus.custom_query_range(rule["expr"], begin, end, step=str(STEP_S)):
        labels = {**series["metric"], **rule.get("labels", {})}
        labels.pop("__name__", None)
        inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
        yield from (f"{rule['record']}{{{inside}}} {value} {at_s}\n" for at_s, value in series["values"])


def _add(promtool: Path, folder: Path, lines: Iterable[str]) -> None:
    """Add samples to the database, as a block."""
    exported, blocks = folder / "servers.om", folder / layout.PROMETHEUS_FOLDER / DATA
    exported.write_text("".join(lines) + "# EOF\n")
    command = list(map(str, (promtool, *CREATE, exported, blocks)))
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _exposition(recorded: Mapping[str, RecordedMetrics]) -> Iterator[str]:
    """OpenMetrics of all samples, those of a metric together."""
    keys = dict.fromkeys(key for each in recorded.values() for key in ["up", *sorted(each.series)])
    for key in keys:
        for address, each in recorded.items():
            values = each.up if key == "up" else each.series.get(key, [])
            begin_s = end_s() - SCRAPE_S * len(each.up)
            series = _with_target(key, address)
            for number, value in enumerate(values):
                if value is not None:
                    yield f"{series} {value!r} {begin_s + number * SCRAPE_S:.0f}\n"


def _with_target(key: str, address: str) -> str:
    name, _, rest = key.partition("{")
    own = rest.removesuffix("}")
    return f'{name}{{job="vllm",instance="{address}"{"," if own else ""}{own}}}'
