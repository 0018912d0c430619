"""`kvchaos nightly`: arguments, the kind of a night, exit codes, and decisions judged again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from kvchaos.cli.app import run as command_line
from kvchaos.cli.nightly_command import control_side, due_kind, exit_code, print_points
from kvchaos.errors import UsageError
from kvchaos.nightly.decision import Decision, Result, decide
from kvchaos.nightly.detection_power import Procedure
from kvchaos.nightly.night_records import (
    MachineIdentity,
    MeasuredScenario,
    Night,
    NightKind,
    NightPoint,
    ServerBuild,
)
from kvchaos.nightly.night_store import append_night, night_history
from kvchaos.nightly.nightly_file import NightMeasurement, measured_scenario
from kvchaos.nightly.rejudging import differing_decisions
from kvchaos.stacks.attach import AttachedServer
from tests.support import night_points
from tests.support.fake_server_runs import register_fake

LEAST = math.log(1.03)
IDENTITY = "0123456789abcdef"
QUIET = [0.001, -0.001, 0.0005, -0.0005, 0.0008, -0.0008]
NOISY = [0.05, -0.05, 0.04, -0.04, 0.03, -0.03]


def night(day: int, kind: NightKind = "comparison", complete: bool = True, *excluded: str) -> Night:
    build = ServerBuild(name="0.32.0", vllm="0.32.0")
    return Night(
        night=f"2026-11-{day:02}T02:00:00Z",
        kind=kind,
        candidate=build,
        control=build,
        machine=MachineIdentity(host="Linux", processor="one"),
        model="tiny",
        kvchaos="0.1.0",
        ended=f"2026-11-{day:02}T03:00:00Z",
        budget_s=3600.0,
        complete=complete,
        measured=[
            MeasuredScenario(scenario="small", identity=IDENTITY, folder="bench", excluded=list(excluded))
        ],
    )


def point(day: int, screen: Sequence[float], decision: Decision | None = None) -> NightPoint:
    return NightPoint(
        night=night(day).night,
        series="small/load/ttft-median",
        role="watch",
        identity=IDENTITY,
        least_step=LEAST,
        screen=list(screen),
        control=50.0,
        candidate=50.0,
        unit="ms",
        decision=decision,
    )


def attached(port: int, vllm: str) -> AttachedServer:
    url = f"http://127.0.0.1:{port}"
    return AttachedServer(
        name=url, vllm=vllm, base_url=url, model="tiny", max_model_len=512, block_size=16, gpu_blocks=40
    )


def test_every_seventh_night_is_a_control_night() -> None:
    nights: list[Night] = []
    kinds = []
    for day in range(1, 16):
        kind = due_kind(night_history(nights, [], []), 7)
        kinds.append(kind)
        nights.append(night(day, kind))
    assert [day for day, kind in enumerate(kinds, start=1) if kind == "control"] == [7, 14]


def test_control_night_on_running_servers_needs_two_of_one_release() -> None:
    control, same, other = (
        attached(port, vllm) for port, vllm in ((1, "0.32.0"), (2, "0.32.0"), (3, "0.31.0"))
    )
    assert control_side("attach", control, same) is same
    with pytest.raises(UsageError, match=r"127.0.0.1:3 runs 0.31.0"):
        control_side("attach", control, other)


def test_control_night_starts_the_control_on_both_sides(tmp_path: Path) -> None:
    control, candidate = (register_fake(tmp_path, name=name) for name in ("control", "candidate"))
    assert control_side("local", control, candidate) is control


@pytest.mark.parametrize(
    ("results", "complete", "excluded", "code"),
    [
        (["same", "improved"], True, (), 0),
        (["same", "regressed", "blind"], True, (), 1),
        (["same"], True, ("run-1: not as expected: logs",), 1),
        (["same"], True, ("run-1: unknown: the client was the limit",), 0),
        (["same", "blind"], True, (), 2),
        (["same"], False, (), 2),
    ],
)
def test_exit_code_names_the_worst_result(
    results: Sequence[Result], complete: bool, excluded: tuple[str, ...], code: int
) -> None:
    points = [replace(point(1, QUIET), decision=Decision(result=result)) for result in results]
    assert exit_code(night(1, "comparison", complete, *excluded), points) == code


def test_stored_decisions_that_agree_give_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decision = decide(QUIET, [], LEAST, Procedure())
    append_night(tmp_path, night(1), [point(1, QUIET, decision)], [])
    assert command_line(["nightly", "judge", "--history", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 decisions of 1 nights; 0 differ\n"


def test_stored_decision_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_night(tmp_path, night(1), [point(1, QUIET, Decision(result="regressed"))], [])
    assert command_line(["nightly", "judge", "--history", str(tmp_path)]) == 1
    assert "small/load/ttft-median: stored regressed, now same" in capsys.readouterr().out


def test_noise_of_earlier_nights_is_used_when_judged_again() -> None:
    noisy = [point(day, NOISY, Decision(result="blind")) for day in range(1, 20)]
    history = night_history(
        [night(day) for day in range(1, 21)], [*noisy, point(20, QUIET, Decision(result="blind"))], []
    )
    assert differing_decisions(history) == []


def test_unknown_scenario_of_a_measurement_is_one_line(tmp_path: Path) -> None:
    measurement = NightMeasurement(scenario="no-such-one", watch={"throughput": 0.05})
    with pytest.raises(UsageError, match="no-such-one"):
        measured_scenario(measurement, tmp_path)


def test_file_with_a_mistake_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text("measurements: []")
    code = command_line(
        ["nightly", "run", str(path), "--candidate", "a", "--control", "b", "--history", str(tmp_path)]
    )
    assert code == 3
    assert capsys.readouterr().err.startswith(f"kvchaos: {path}: measurements")


def test_table_has_percentages_and_no_logarithms(capsys: pytest.CaptureFixture[str]) -> None:
    print_points([night_points.point(2, "regressed", math.log(2.0))])
    assert "+100.0 %" in capsys.readouterr().out
