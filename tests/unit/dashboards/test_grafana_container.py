"""The container of a test in Grafana is removed by its label, whatever ends the test.

The engine and `docker compose` are replaced by small stand-ins; no Grafana runs.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import docker
import pytest

from kvchaos.errors import UsageError
from kvchaos.paths import state_folder
from kvchaos.stacks.compose.docker_engine import PROJECT_LABEL, SERVICE_LABEL
from tests.grafana import grafana_container
from tests.grafana.grafana_container import found_boards, running_grafana
from tests.support.fake_programs import write_program

COMPOSE = """#!/bin/sh
echo "$*" >>{calls}
case "$*" in *" up "*) exit {code};; *) echo "services: {{}}";; esac
"""


class Engine:
    """An engine with one container, whose client shows how it was found and whether it was removed."""

    def __init__(self, folder: Path, state: str, *, code: int = 0) -> None:
        self.calls = folder / "calls"
        write_program(folder / "docker", COMPOSE.format(calls=self.calls, code=code))
        self.container = MagicMock()
        self.container.attrs = {"State": {"Status": state, "Health": {"Status": "healthy"}}}
        if state != "running":
            self.container.attrs["State"].pop("Health")
        self.container.logs.return_value = b"logger=server msg=stopped\n"
        self.client = MagicMock(spec=docker.DockerClient)
        self.client.containers.list.return_value = [self.container]

    @property
    def labels(self) -> list[str]:
        """Labels of the last search for containers."""
        found: list[str] = self.client.containers.list.call_args.kwargs["filters"]["label"]
        return found


@pytest.fixture
def made(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(grafana_container, "check_health", lambda url, version: None)
    return lambda state, code=0: Engine(tmp_path, state, code=code)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def check_removed(engine: Engine, cache: Path) -> None:
    engine.container.remove.assert_called_once_with(force=True, v=True)
    assert any(label.startswith(f"{PROJECT_LABEL}=kvchaos-grafana-13.2.3-") for label in engine.labels)
    assert list(state_folder(cache).iterdir()) == []


def test_grafana_alone_is_started_without_a_pull(
    made: Callable[..., Engine], cache: Path, tmp_path: Path
) -> None:
    engine = made("running")
    with running_grafana(engine.client, "13.2.3", 9090, tmp_path) as url:
        (record,) = state_folder(cache).iterdir()
        (project,) = json.loads(record.read_text())["projects"]
        assert project in engine.calls.read_text()
    assert url.startswith("http://127.0.0.1:")
    up = engine.calls.read_text().splitlines()[-1].split()
    assert up[-1] == "grafana"
    assert {"up", "--no-deps", "--no-build", "never"} <= set(up)
    searches = [call.kwargs["filters"]["label"] for call in engine.client.containers.list.call_args_list]
    assert f"{SERVICE_LABEL}=grafana" in searches[0]
    check_removed(engine, cache)


def test_container_is_removed_after_a_failed_test(
    made: Callable[..., Engine], cache: Path, tmp_path: Path
) -> None:
    engine = made("running")
    with pytest.raises(ZeroDivisionError), running_grafana(engine.client, "13.2.3", 9090, tmp_path):
        raise ZeroDivisionError
    assert b"stopped" in (tmp_path / "grafana.log").read_bytes()
    check_removed(engine, cache)


def test_container_is_removed_after_a_signal(
    made: Callable[..., Engine], cache: Path, tmp_path: Path
) -> None:
    engine = made("running")
    with pytest.raises(KeyboardInterrupt), running_grafana(engine.client, "13.2.3", 9090, tmp_path):
        terminate()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    check_removed(engine, cache)


def test_search_is_repeated_until_it_has_the_provisioned_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"[]", b'[{"uid": "a", "title": "A", "tags": []}]', b"[]"]
    monkeypatch.setattr(grafana_container, "POLL_S", 0.0)
    monkeypatch.setattr(grafana_container, "_get", lambda url: answers.pop(0))
    assert [board.uid for board in found_boards("http://127.0.0.1:1", ["a"])] == ["a"]
    monkeypatch.setattr(grafana_container, "PROVISIONED_S", 0.0)
    assert found_boards("http://127.0.0.1:1", ["a"]) == []


@pytest.mark.parametrize(("state", "code"), [("exited", 0), ("running", 1)])
def test_container_that_does_not_come_up_is_an_error_and_is_removed(
    made: Callable[..., Engine], cache: Path, tmp_path: Path, state: str, code: int
) -> None:
    engine = made(state, code)
    with pytest.raises(UsageError), running_grafana(engine.client, "13.2.3", 9090, tmp_path):
        pytest.fail("Grafana came up")
    check_removed(engine, cache)
