"""Which data each board is drawn from. A board without an entry fails its tests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from prometheus_api_client import PrometheusConnect

from history import layout
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.openmetrics_text import GaugeFamily, exposition
from kvchaos.prometheus.program import DATA
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import campaign_families, soak_families
from tests.boards.recorded_servers import BEGIN_S, CREATE, SCRAPE_S, end_s, recorded_servers
from tests.prometheus.grafana_queries import TimeRange
from tests.prometheus.stored_prometheus import reopened
from tests.support.stored import SUFFIX, unpack
from tests.support.synthetic_nights import NEW, synthetic_year
from tests.support.synthetic_soaks import ONGOING, SOAK_NIGHTS, START, soak_history, write_campaign

ARCHIVES = Path(__file__).parent / "data"
BEFORE_S = 5
NIGHTS = 60
MORNING_S = 8 * 3600
"""The boards of nights are opened some hours after the last one began."""


@dataclass(frozen=True)
class OpenedData:
    """A Prometheus with data, and the time that a board of it shows."""

    prometheus: PrometheusConnect
    shown: TimeRange


Source = Callable[[Path, Path], AbstractContextManager[OpenedData]]
"""Opens the data, given promtool and an empty folder."""


@dataclass(frozen=True)
class BoardData:
    """Data for a board. `empty`: why panels, by title, have no data in it."""

    name: str
    source: Source
    variables: Mapping[str, str] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def stored_run(archive: str, promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """The Prometheus of a real run, as it lies in the run directory."""
    run_dir = unpack(ARCHIVES / f"{archive}{SUFFIX}", folder)
    with reopened(run_dir, folder) as prometheus:
        found = prometheus.custom_query('up{job="server"}[10y]', params={"time": time.time()})
        samples = [(float(at_s), value) for series in found for at_s, value in series["values"]]
        ready_s = min(at_s for at_s, value in samples if value == "1")
        yield OpenedData(prometheus, TimeRange(ready_s - BEFORE_S, max(samples)[0]))


@contextmanager
def exported_nights(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """A synthetic history of nights."""
    history = synthetic_year(NIGHTS)
    first, last = (datetime.fromisoformat(history.nights[at].night).timestamp() for at in (0, -1))
    with _blocks(night_families(history), promtool, folder) as prometheus:
        yield OpenedData(prometheus, TimeRange(first - MORNING_S, last + MORNING_S))


@contextmanager
def exported_soaks(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """Synthetic nights of `kvchaos soak`, and one of its campaigns."""
    campaign = read_campaign(write_campaign(folder / "campaign"))
    families = [*soak_families(soak_history()), *campaign_families([campaign])]
    first = START.timestamp()
    with _blocks(families, promtool, folder) as prometheus:
        yield OpenedData(
            prometheus, TimeRange(first - MORNING_S, first + (SOAK_NIGHTS - 1) * 86400 + MORNING_S)
        )


@contextmanager
def production_servers(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """Recorded runs as servers in production."""
    with recorded_servers(promtool, folder) as prometheus:
        yield OpenedData(prometheus, TimeRange(BEGIN_S, end_s(), scrape_s=SCRAPE_S))


@contextmanager
def _blocks(families: Iterable[GaugeFamily], promtool: Path, folder: Path) -> Iterator[PrometheusConnect]:
    """What is exported as OpenMetrics, made into blocks by promtool."""
    exported, blocks = folder / "history.om", folder / layout.PROMETHEUS_FOLDER / DATA
    exported.write_text(exposition(families))
    subprocess.run([promtool, *CREATE, exported, blocks], check=True, capture_output=True, timeout=120)
    with reopened(folder, folder) as prometheus:
        yield prometheus


KILLED = partial(stored_run, "kill-and-restart")
FAULTS = partial(stored_run, "legal-swarm")
NOW = "no server breaks a law at the end of the time shown"
BOARDS: Mapping[str, tuple[BoardData, ...]] = {
    "run": (BoardData("killed", KILLED), BoardData("faults", FAULTS)),
    "campaign": (BoardData("synthetic", exported_soaks, {"signature": ONGOING}),),
    "fleet": (BoardData("recorded", production_servers, empty={"Servers with a broken law": NOW}),),
    "nights": (BoardData("synthetic", exported_nights, {"scenario": NEW.partition("/")[0], "series": NEW}),),
}
"""By the name of the JSON in dashboards/."""


def data_of(board: str) -> tuple[BoardData, ...]:
    """The entries of a board."""
    if board not in BOARDS:
        raise LookupError(f"dashboards/{board}.json has no entry in BOARDS of tests/boards/board_data.py")
    return BOARDS[board]
