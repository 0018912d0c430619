"""One Prometheus with the data of all boards, since Compose provisions one data source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_api_client import PrometheusConnect

from history import layout
from kvchaos.prometheus.program import DATA
from tests.boards.board_data import BoardData, data_of
from tests.prometheus.grafana_queries import TimeRange
from tests.prometheus.stored_prometheus import reopened

SHOWN: Mapping[str, str] = {
    "run": "hang",
    "nights": "synthetic",
    "campaign": "synthetic",
    "fleet": "recorded",
}
"""Data by the name of the JSON in dashboards/. `kvchaos triage` serves the same series of the stored run."""


@dataclass(frozen=True)
class GrafanaData:
    """A Prometheus, and the time that each board shows."""

    prometheus: PrometheusConnect
    shown: Mapping[str, TimeRange]

    @property
    def port(self) -> int:
        """Of Prometheus, on loopback."""
        port: int | None = urlsplit(self.prometheus.url).port
        assert port is not None, self.prometheus.url
        return port


def board_data(board: str) -> BoardData:
    """The data that a board is opened with."""
    (data,) = (each for each in data_of(board) if each.name == SHOWN[board])
    return data


@contextmanager
def data_of_all_boards(promtool: Path, folder: Path) -> Iterator[GrafanaData]:
    """The blocks of each source are made in a folder of its own, and served together."""
    blocks = folder / "all" / layout.PROMETHEUS_FOLDER / DATA
    blocks.mkdir(parents=True)
    shown = {}
    for board in SHOWN:
        own = folder / board
        own.mkdir()
        with board_data(board).source(promtool, own) as opened:
            shown[board] = opened.shown
        for meta in (own / layout.PROMETHEUS_FOLDER / DATA).glob("*/meta.json"):
            meta.parent.rename(blocks / meta.parent.name)
    with reopened(folder / "all", folder / "all") as prometheus:
        yield GrafanaData(prometheus, shown)
