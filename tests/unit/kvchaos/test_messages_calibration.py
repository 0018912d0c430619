"""What is said of calibrations, and of files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from history.scenario import StackName
from kvchaos.calibration.calibrate import calibration_line, calibration_scenario
from kvchaos.calibration.stored_calibrations import (
    FILE,
    Calibration,
    ServerIdentity,
    store_calibration,
    stored_calibration,
)
from kvchaos.cli.calibrate_command import calibrate_command
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import load_scenario, scenario_files

IDENTITY = ServerIdentity(device="card", vllm="0.32.0", torch="2.13.0", model="m@main", scale="workstation")


def calibration(tolerance: float, identity: ServerIdentity = IDENTITY) -> Calibration:
    return Calibration(
        identity=identity,
        pairs=48,
        equal=40,
        largest=tolerance / 1.5,
        diverged=2,
        tolerance=tolerance,
        run="equal-answers-1",
        created="2026-11-30T12:00:00+00:00",
    )


def test_last_calibration_of_the_same_server_counts(tmp_path: Path) -> None:
    other = ServerIdentity(device="card", vllm="0.31.0", torch="2.13.0", model="m@main", scale="workstation")
    for stored in (calibration(0.01), calibration(0.02), calibration(0.5, other)):
        store_calibration(stored, tmp_path / "cache")
    found = stored_calibration(IDENTITY, tmp_path / "cache")
    assert found is not None
    assert found.tolerance == 0.02
    assert stored_calibration(IDENTITY, tmp_path) is None


@pytest.mark.parametrize("variant", [{"batch_invariant": True}, {"gpu_args": ("--enforce-eager",)}])
def test_calibration_of_a_variant_is_one_of_its_own(variant: dict[str, Any], tmp_path: Path) -> None:
    store_calibration(calibration(0.02), tmp_path)
    assert stored_calibration(replace(IDENTITY, **variant), tmp_path) is None


def test_calibration_of_an_earlier_version_was_made_without_variants(tmp_path: Path) -> None:
    store_calibration(calibration(0.02), tmp_path)
    stored = (tmp_path / FILE).read_text().replace(',"batch_invariant":false,"gpu_args":[]', "")
    assert "batch_invariant" not in stored
    (tmp_path / FILE).write_text(stored)
    assert stored_calibration(IDENTITY, tmp_path) is not None


def test_damaged_file_is_named_with_its_line_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"identity": 1}\n')
    with pytest.raises(UsageError, match=rf"{FILE}:1: .*; delete the file to calibrate again"):
        stored_calibration(IDENTITY, tmp_path)


def test_line_has_the_measured_figures() -> None:
    assert calibration_line(calibration(0.03)) == (
        "40 of 48 pairs of answers are equal bit for bit, 2 have another token, logprobs of equal tokens "
        "differ by up to 0.02; tolerance 0.03"
    )


def test_attached_server_cannot_be_calibrated() -> None:
    stack: StackName = "attach"
    with pytest.raises(UsageError, match="needs a server that kvchaos starts"):
        calibrate_command(stack=stack)


def test_scenario_of_the_calibration_is_no_scenario_of_a_campaign() -> None:
    path = calibration_scenario()
    assert path not in scenario_files()
    scenario = load_scenario(path)
    assert scenario.expect == ()
    assert not scenario.faults
