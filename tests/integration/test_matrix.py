"""The matrix over the fake server: a real campaign, real run directories, real judging."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from history import layout
from kvchaos.matrix.cells import Cell, read_results
from kvchaos.matrix.filling import Order, fill
from kvchaos.matrix.local_machine import LocalMachine
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.servers.server_registry import server_folder
from tests.support.fake_matrix import CODE
from tests.support.fake_server_runs import Bench, register_fake, scenario, verdict_of, write_scenario

RELEASE = "0.32.0"


class Filled:
    """Two scenarios on a fake release."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        register_fake(self.bench.cache, RELEASE)
        self.results = folder / "matrix"
        names = ("one", "two")
        paths = [write_scenario(folder / f"{name}.yaml", scenario() | {"name": name}) for name in names]
        loaded = [load_scenario(path) for path in paths]
        self.order = Order(releases=(RELEASE,), scenarios=loaded, seed=3, bugs=(), code=CODE)
        self.printed: list[str] = []

    def fill(self, order: Order) -> list[Cell]:
        machine = LocalMachine(self.bench.workspace(), Console(file=io.StringIO()))
        assert (
            fill(order, machine, self.results, self.printed.append, lambda: "2026-11-30")
            == ["as expected"] * 2
        )
        return read_results(self.results, RELEASE).cells

    def runs(self) -> list[str]:
        return sorted(path.name for path in self.bench.runs.iterdir())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return Filled(tmp_path_factory.mktemp("matrix"))


def test_matrix_cells_are_rejudged_from_their_runs(filled: Filled) -> None:
    cells = filled.fill(filled.order)
    assert [cell.scenario for cell in cells] == ["one", "two"]
    assert sorted(str(cell.run) for cell in cells) == filled.runs()
    for cell in cells:
        assert verdict_of(filled.bench.runs / str(cell.run)).outcome == cell.outcome

    assert filled.fill(filled.order) == cells

    verdicts = [filled.bench.runs / str(cell.run) / layout.VERDICT for cell in cells]
    for verdict in verdicts:
        verdict.unlink()
    again = filled.fill(replace(filled.order, code=replace(CODE, judging="j2")))
    assert [cell.run for cell in again] == [cell.run for cell in cells]
    assert [cell.judged for cell in again] != [cell.judged for cell in cells]
    assert all(verdict.exists() for verdict in verdicts)

    runs = filled.runs()
    filled.fill(replace(filled.order, code=replace(CODE, making="m2")))
    assert len(filled.runs()) == 2 * len(runs)


def test_preinstalled_server_is_kept_by_the_matrix(filled: Filled) -> None:
    filled.fill(filled.order)
    assert server_folder(RELEASE, filled.bench.cache).is_dir()
