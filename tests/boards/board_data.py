"""Which data each board is drawn from. A board without an entry fails its tests."""

from __future__ import annotations

import lzma
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from prometheus_api_client import PrometheusConnect

from history import layout
from history.events import ServerReady
from history.reader import History, read_history
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.openmetrics_text import GaugeFamily, exposition
from kvchaos.prometheus.program import DATA
from kvchaos.prometheus.recorded_series import openmetrics_lines
from kvchaos.stability.campaign_export import campaign_families
from kvchaos.stability.campaign_results import read_campaign
from kvchaos.stability.soak_export import soak_families
from tests.boards.recorded_servers import BEGIN_S, CREATE, SCRAPE_S, end_s, recorded_servers
from tests.prometheus.grafana_queries import TimeRange
from tests.prometheus.stored_prometheus import reopened
from tests.support.stored import DATA as STORED
from tests.support.stored import SUFFIX, unpack
from tests.support.synthetic_nights import NEW, synthetic_year
from tests.support.synthetic_records import gpu_sample
from tests.support.synthetic_soaks import ONGOING, SOAK_NIGHTS, START, soak_history, write_campaign

ARCHIVES = Path(__file__).parent / "data"
NS_PER_S = 1e9
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


def unchanged(history: History) -> History:
    """The records as they are."""
    return history


def with_gpus(history: History) -> History:
    """The records as if the server had used two GPUs: their samples are made up."""
    samples = [
        gpu_sample(usage.t_ns, index, busy_percent=number % 100, used_bytes=(40 + index) << 30)
        for number, usage in enumerate(history.resources)
        for index in range(2)
    ]
    return replace(history, gpus=samples)


@contextmanager
def replayed_run(
    archive: Path, change: Callable[[History], History], promtool: Path, folder: Path
) -> Iterator[OpenedData]:
    """The series that `kvchaos triage` makes of the records of a real run."""
    history = change(read_history(unpack(archive, folder)))
    ready, end = history.events_of(ServerReady)[0], history.events[-1]
    shown = TimeRange(ready.t_ns / NS_PER_S - BEFORE_S, end.t_ns / NS_PER_S)
    with opened_blocks("".join(openmetrics_lines(history)), promtool, folder) as prometheus:
        yield OpenedData(prometheus, shown)


@contextmanager
def replayed_series(exported: Path, promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """The same, of a run of which only these series are stored."""
    text = lzma.decompress(exported.read_bytes()).decode()
    times_s = [float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")]
    with opened_blocks(text, promtool, folder) as prometheus:
        yield OpenedData(prometheus, TimeRange(min(times_s), max(times_s)))


@contextmanager
def exported_nights(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """A synthetic history of nights, with the search for failures."""
    history = synthetic_year(NIGHTS)
    families = [*night_families(history), *_soaks(folder)]
    first, last = (datetime.fromisoformat(history.nights[at].night).timestamp() for at in (0, -1))
    with opened_blocks(exposition(families), promtool, folder) as prometheus:
        yield OpenedData(prometheus, TimeRange(first - MORNING_S, last + MORNING_S))


@contextmanager
def exported_soaks(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """Synthetic nights of `kvchaos soak`, and one of its campaigns."""
    first = START.timestamp()
    with opened_blocks(exposition(_soaks(folder)), promtool, folder) as prometheus:
        yield OpenedData(
            prometheus, TimeRange(first - MORNING_S, first + (SOAK_NIGHTS - 1) * 86400 + MORNING_S)
        )


def _soaks(folder: Path) -> list[GaugeFamily]:
    campaign = read_campaign(write_campaign(folder / "campaign"))
    return [*soak_families(soak_history()), *campaign_families([campaign])]


@contextmanager
def production_servers(promtool: Path, folder: Path) -> Iterator[OpenedData]:
    """Recorded runs as servers in production."""
    with recorded_servers(promtool, folder) as prometheus:
        yield OpenedData(prometheus, TimeRange(BEGIN_S, end_s(), scrape_s=SCRAPE_S))


@contextmanager
def opened_blocks(text: str, promtool: Path, folder: Path) -> Iterator[PrometheusConnect]:
    """OpenMetrics text, made into blocks by promtool."""
    exported, blocks = folder / "history.om", folder / layout.PROMETHEUS_FOLDER / DATA
    exported.write_text(text)
    subprocess.run([promtool, *CREATE, exported, blocks], check=True, capture_output=True, timeout=120)
    with reopened(folder, folder) as prometheus:
        yield prometheus


KILLED = partial(stored_run, "kill-and-restart")
FAULTS = partial(stored_run, "legal-swarm")
DIED = partial(replayed_series, ARCHIVES / "server-died.om.xz")
HANG, CORRUPTION, GPUS = (
    partial(replayed_run, STORED / f"{name}{SUFFIX}", change)
    for name, change in (("hang", unchanged), ("wrong-answers", unchanged), ("wrong-answers", with_gpus))
)
NO_GPU = dict.fromkeys(("GPU memory", "GPU utilization", "GPU bus", "GPU power"), "the server used no GPU")
NO_PROMETHEUS = {"Scrape duration": "the run had no Prometheus"}
NO_FAULT = dict.fromkeys(("Fault firings", "Firings", "Phases and faults"), "the scenario has no fault")
OLD_RELEASE = dict.fromkeys(
    ("Waiting requests by reason", "CPU tier in use", "Lookup delay"), "vLLM 0.18 does not have the metric"
)
NOW = "no server breaks a law at the end of the time shown"
BOARDS: Mapping[str, tuple[BoardData, ...]] = {
    "run": (
        BoardData("killed", KILLED, empty=NO_GPU),
        BoardData("faults", FAULTS, empty=NO_GPU),
        BoardData("died", DIED, empty=OLD_RELEASE | NO_FAULT | NO_PROMETHEUS | NO_GPU),
        BoardData("hang", HANG, empty=NO_PROMETHEUS | NO_GPU),
        BoardData("corruption", CORRUPTION, empty=NO_PROMETHEUS | NO_GPU),
        BoardData("gpus", GPUS, empty=NO_PROMETHEUS),
    ),
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
