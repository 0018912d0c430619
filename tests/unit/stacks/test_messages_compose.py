"""What is said where Docker cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kvchaos.cli.app import run as command_line
from kvchaos.errors import UsageError
from kvchaos.stacks.compose.docker_engine import connect
from kvchaos.stacks.orphans import end_and_remove, find_orphans
from kvchaos.stacks.process_registry import ProcessRegistry
from tests.unit.stacks.test_stack_orphans import of_dead_conductor

HERE = "unix:///nowhere.sock"


@pytest.fixture
def record(tmp_path: Path) -> ProcessRegistry:
    return ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )


def test_containers_of_an_unreachable_engine_stay_recorded(
    record: ProcessRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", HERE)
    record.add_project("kvchaos-r1")
    of_dead_conductor(record, projects=("kvchaos-r1",))
    (leftover,) = find_orphans(record.path.parent)
    (line,) = end_and_remove(leftover).remaining
    assert line.startswith(
        "containers of project kvchaos-r1 may be left: the Docker engine at unix:///nowhere"
    )
    assert record.path.exists()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (HERE, "does not answer: start it"),
        ("tcp://10.0.0.1:2375", "is not on this machine"),
        ("ssh://me@there", "is not on this machine"),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_line(
    host: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(UsageError, match=message):
        connect()


def test_missing_docker_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no docker command: install Docker Engine"):
        connect()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "baseline-offload", "--stack", "attach"), "nothing to plan"),
        (("plan", "baseline-offload", "--stack", "compose-cpu", "--server", "0.1"), "unknown vLLM release"),
        (("run", "baseline-offload", "--grafana"), "--grafana needs --stack compose-cpu or compose-gpu"),
    ],
)
def test_unsupported_compose_option_is_refused(
    cache: Path, arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(arguments) == 3
    assert message in capsys.readouterr().err
