"""What makes a new identity of a series, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from history.scenario import Scenario
from kvchaos.matrix.digests import Code
from kvchaos.nightly.night_identity import series_identity, server_build
from kvchaos.nightly.night_records import MachineIdentity, ServerBuild
from kvchaos.planning.scenario_file import load_scenario
from tests.support.fake_server_runs import register_fake, scenario, write_scenario

MACHINE = MachineIdentity(host="Linux, 2 processors", processor="one", gpus=["A"], driver="1")
CONTROL = ServerBuild(name="0.32.0", vllm="0.32.0", torch="2.13.0+cpu", python="3.11.7")
CODE = Code(making="a", judging="b")


@pytest.fixture
def measured(tmp_path: Path) -> Scenario:
    return load_scenario(write_scenario(tmp_path / "small.yaml", scenario()))


def identity(
    measured: Scenario,
    machine: MachineIdentity = MACHINE,
    control: ServerBuild = CONTROL,
    model: str = "tiny",
    code: Code = CODE,
) -> str:
    return series_identity(machine, control, measured, model, code, ("local", "openai", 1))


def test_equal_nights_have_one_identity(measured: Scenario) -> None:
    assert identity(measured) == identity(measured)


def test_code_that_only_judges_keeps_the_identity(measured: Scenario) -> None:
    assert identity(measured) == identity(measured, code=Code(making="a", judging="c"))


def test_each_change_of_the_measurement_is_a_new_identity(measured: Scenario) -> None:
    other_load = measured.model_copy(update={"phases": measured.phases[:-1]})
    found = [
        identity(measured),
        identity(measured, machine=replace(MACHINE, driver="2")),
        identity(measured, machine=replace(MACHINE, gpus=["B"])),
        identity(measured, machine=replace(MACHINE, processor="two")),
        identity(measured, control=replace(CONTROL, vllm="0.31.0")),
        identity(measured, control=replace(CONTROL, torch="2.12.0+cpu")),
        identity(measured, control=replace(CONTROL, commit="1a2b3c4")),
        identity(measured, model="large"),
        identity(measured, code=Code(making="c", judging="b")),
        identity(other_load),
        series_identity(MACHINE, CONTROL, measured, "tiny", CODE, ("local", "lean", 1)),
        series_identity(MACHINE, CONTROL, measured, "tiny", CODE, ("local", "openai", 2)),
    ]
    assert len(set(found)) == len(found)


def test_port_of_a_running_server_keeps_the_identity(measured: Scenario) -> None:
    found = {
        series_identity(MACHINE, replace(CONTROL, name=url), measured, "m", CODE, ("attach", "openai", 1))
        for url in ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("vllm", "commit"),
    [
        ("0.33.0.dev12+g1a2b3c4d5.d20261130", "1a2b3c4d5"),
        ("0.33.0.dev12+cpu.g1a2b3c4", "1a2b3c4"),
        ("0.32.0+cpu", None),
        ("0.32.0", None),
    ],
)
def test_commit_is_read_from_the_version_of_a_build(tmp_path: Path, vllm: str, commit: str | None) -> None:
    assert server_build(register_fake(tmp_path, vllm=vllm)).commit == commit
