"""`kvchaos nightly bisect`: the first slow build, by pairs that show it; bad arguments start nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.cli.app import run as command_line
from tests.support.fake_server_runs import register_fake, scenario, write_scenario
from tests.support.scripted_measurements import ScriptedRuns, script_measurements

BUILDS = tuple(f"build-{number}" for number in range(1, 9))
SERIES = "small/load/ttft-median"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScriptedRuns:
    monkeypatch.setenv("KVCHAOS_CACHE", str(tmp_path / "cache"))
    for build in BUILDS:
        register_fake(tmp_path / "cache", name=build)
    write_scenario(tmp_path / "small.yaml", scenario())
    (tmp_path / "nightly.yaml").write_text(
        "measurements:\n  - {scenario: small.yaml, phase: load, watch: {ttft-median: 0.03}}\n"
    )
    return script_measurements(monkeypatch)


def bisect(folder: Path, *arguments: str, builds: str = ",".join(BUILDS), step: str = "0.1") -> int:
    options = ["--builds", builds, "--step", step, "--runs", str(folder / "runs")]
    return command_line(
        ["nightly", "bisect", str(folder / "nightly.yaml"), *(arguments or (SERIES,)), *options]
    )


@pytest.mark.parametrize("first_bad", [1, 4, 7])
def test_first_slow_build_is_located(
    tmp_path: Path, runs: ScriptedRuns, capsys: pytest.CaptureFixture[str], first_bad: int
) -> None:
    runs.slow = dict.fromkeys(BUILDS[first_bad:], 1.1)
    assert bisect(tmp_path) == 0
    assert f"the first build with the step is {BUILDS[first_bad]}," in capsys.readouterr().out
    seeds = [seed for _, seed in runs.measured]
    assert len(set(seeds)) == len(seeds) / 2


def test_step_that_is_gone_is_not_located(
    tmp_path: Path, runs: ScriptedRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bisect(tmp_path) == 2
    assert "not located: the last build does not show the step any more" in capsys.readouterr().out


def test_build_that_fails_is_left_out(
    tmp_path: Path, runs: ScriptedRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.slow = dict.fromkeys(BUILDS[5:], 1.1)
    runs.failing = BUILDS[3]
    assert bisect(tmp_path) == 0
    assert f"the first build with the step is {BUILDS[5]}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ((SERIES,), {"builds": "build-1"}, "--builds build-1: give two or more"),
        ((SERIES,), {"builds": "build-1,build-1"}, "each once"),
        ((SERIES,), {"step": "0"}, "--step 0: give the step as a fraction"),
        (("small/load/none",), {}, "small/load/none: the file has no such series; there are small/load/ttft"),
        ((SERIES,), {"builds": "build-1,nowhere"}, "nowhere"),
    ],
)
def test_bad_argument_starts_nothing(
    tmp_path: Path,
    runs: ScriptedRuns,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    options: dict[str, str],
    problem: str,
) -> None:
    assert bisect(tmp_path, *arguments, **options) == 3
    assert problem in capsys.readouterr().err
    assert runs.measured == []
