"""`kvchaos session`: results reach the file whatever the runs do, and never replace earlier results."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kvchaos.cli import chosen_scenario, session_command
from kvchaos.cli.chosen_scenario import ChosenScenario
from kvchaos.cli.durations import parse_duration
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace
from kvchaos.servers.server_registry import ServerEnv


@dataclass
class Commands:
    """In place of the commands that a session calls."""

    speed: int = 0
    scenarios: int = 0
    fails: bool = False
    budgets: list[float] = field(default_factory=list)

    def sources(self, *, runs: Path, budget: str, **_: Any) -> int:
        self.budgets.append(parse_duration(budget))
        (runs / "bench-sources").mkdir()
        return self.speed

    def run(self, *, runs: Path, budget: str, **_: Any) -> int:
        self.budgets.append(parse_duration(budget))
        if self.fails:
            raise UsageError("the disk is full")
        (runs / "corruption-canary").mkdir()
        return self.scenarios


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    monkeypatch.setattr(session_command, "sources_command", found.sources)
    monkeypatch.setattr(session_command, "run_command", found.run)
    return found


def session(folder: Path, name: str = "results.tar.gz", **options: Any) -> int:
    return session_command.session_command(folder / name, runs=folder / "runs", **options)


def packed(folder: Path) -> set[str]:
    """The last parts of the paths in the file."""
    with tarfile.open(folder / "results.tar.gz") as archive:
        return {Path(name).name for name in archive.getnames()}


def test_file_has_the_speed_and_all_runs(tmp_path: Path, commands: Commands) -> None:
    assert session(tmp_path) == 0
    assert {"bench-sources", "corruption-canary"} <= packed(tmp_path)


def test_speed_takes_at_most_its_share_of_the_time(tmp_path: Path, commands: Commands) -> None:
    session(tmp_path, budget="40m")
    speed, scenarios = commands.budgets
    assert speed == pytest.approx(600, abs=2)
    assert scenarios == pytest.approx(2400, abs=2)


@pytest.mark.parametrize(("speed", "scenarios", "code"), [(0, 1, 1), (2, 0, 0), (1, 0, 1), (1, 2, 2)])
def test_exit_code_is_that_of_the_scenarios_or_of_a_failed_measurement(
    speed: int, scenarios: int, code: int, tmp_path: Path, commands: Commands
) -> None:
    commands.speed, commands.scenarios = speed, scenarios
    assert session(tmp_path) == code


def test_results_so_far_are_packed_when_the_runs_fail(tmp_path: Path, commands: Commands) -> None:
    commands.fails = True
    with pytest.raises(UsageError, match="the disk is full"):
        session(tmp_path)
    assert "bench-sources" in packed(tmp_path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("results.zip", "give a file with the suffix .tar.gz"),
        ("earlier.tar.gz", "exists already; give another name"),
        ("nowhere/results.tar.gz", "is no folder; create it"),
    ],
)
def test_unusable_target_is_refused_before_anything_runs(
    name: str, problem: str, tmp_path: Path, commands: Commands
) -> None:
    (tmp_path / "earlier.tar.gz").touch()
    with pytest.raises(UsageError, match=problem):
        session(tmp_path, name)
    assert commands.budgets == []


def test_run_of_a_calibration_is_in_the_folder_for_run_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a session packs it."""
    used: list[Path] = []

    def calibrated(*arguments: Any) -> float:
        used.extend(each.runs for each in arguments if isinstance(each, Workspace))
        return 0.0

    monkeypatch.setattr(chosen_scenario, "calibrated_tolerance", calibrated)
    server = ServerEnv(
        name="build",
        kind="added",
        vllm="0.32.0",
        torch="2.13.0",
        python=tmp_path / "python",
        python_version="3.12.0",
        preload=(),
        entry_module="vllm.entrypoints.openai.api_server",
    )
    chosen = ChosenScenario.named("baseline-offload", "load", 50.0, None)
    chosen.on(server, "local", tmp_path)
    assert used == [tmp_path]
