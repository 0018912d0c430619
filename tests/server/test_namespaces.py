"""Machines of tests that leave something behind, or that reach more than they are told to, prove nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.namespaces import CI, Machine, linked_machines, need_namespaces

NAMES = Path("/run/netns")
LINKS = {"to0", "to1", "home"}
"""Interfaces of the machines."""
LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    listener.accept()
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture
def machines() -> Iterator[tuple[Machine, ...]]:
    need_namespaces()
    with linked_machines(2) as made:
        yield made


def interfaces() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def names() -> set[str]:
    return {entry.name for entry in NAMES.iterdir()} if NAMES.is_dir() else set()


def reaches(one: Machine, other: Machine, port: int) -> bool:
    command = [*one.inside, sys.executable, "-c", CONNECT, other.address, str(port)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_namespaces_reach_the_first_and_not_each_other(machines: tuple[Machine, ...]) -> None:
    for here, there, expected in ((1, 0, True), (2, 0, True), (0, 1, True), (1, 2, False)):
        target = machines[there]
        command = [*target.inside, sys.executable, "-c", LISTEN, target.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
            try:
                assert listener.stdout is not None
                port = int(listener.stdout.readline())
                assert reaches(machines[here], target, port) is expected
            finally:
                listener.kill()


def test_failed_test_leaves_no_namespace() -> None:
    need_namespaces()
    with suppress(ZeroDivisionError), linked_machines(2) as made:
        ours = {machine.name for machine in made}
        assert len(ours) == 3
        assert ours <= names()
        assert not LINKS & interfaces()
        raise ZeroDivisionError
    assert not ours & names()
    assert not LINKS & interfaces()


def test_missing_root_fails_in_ci_and_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv(CI, "true")
    with pytest.raises(pytest.fail.Exception, match="root"):
        need_namespaces()
    monkeypatch.delenv(CI)
    with pytest.raises(pytest.skip.Exception, match="root"):
        need_namespaces()


def test_a_missing_program_is_a_failure_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(pytest.fail.Exception, match="install iproute2"):
        need_namespaces()
