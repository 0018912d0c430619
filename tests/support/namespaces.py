"""Machines for tests: network namespaces of their own, with links between them and nowhere else.

Names are new each time. The links lie inside the namespaces, so that neither an interface nor an address of
this machine is touched, and they go with them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

HOW_TO_GET = "install iproute2 (Debian: sudo apt install iproute2)"
NEEDS_ROOT = "network namespaces need root"
SUPERUSERS = "/usr/sbin:/sbin"
"""Folders of programs that a PATH may lack."""
CI = "CI"
"""Set where nothing is to be skipped."""
COMMAND_S = 20.0


@dataclass(frozen=True)
class Machine:
    """A namespace, and the address at which those that it is linked to reach it."""

    name: str
    address: str

    @property
    def inside(self) -> tuple[str, ...]:
        """Words before a command that is to run there; it keeps its process id."""
        return (_program(), "netns", "exec", self.name)


def need_namespaces() -> None:
    """Without root the test is skipped, but fails in CI; without iproute2 it fails."""
    if os.geteuid() != 0:
        if os.environ.get(CI):
            pytest.fail(NEEDS_ROOT, pytrace=False)
        pytest.skip(NEEDS_ROOT)
    if _found() is None:
        pytest.fail(f"no program ip: {HOW_TO_GET}", pytrace=False)


@contextmanager
def linked_machines(others: int) -> Iterator[tuple[Machine, ...]]:
    """One machine, and so many others that reach it but not each other; all are removed with the block.

    What was started there is for the test to end. Raises AssertionError with the word of ip.
    """
    token = secrets.token_hex(4)
    with ExitStack() as made:
        first, *rest = (
            made.enter_context(_machine(Machine(f"kvchaos-test-{token}-{number}", f"10.77.0.{number + 1}")))
            for number in range(1 + others)
        )
        for number, other in enumerate(rest):
            _link(first, other, f"to{number}")
        yield (first, *rest)


@contextmanager
def _machine(machine: Machine) -> Iterator[Machine]:
    """Create a network namespace for the time of the block."""
    _ip("netns", "add", machine.name)
    try:
        _ip("-n", machine.name, "link", "set", "lo", "up")
        yield machine
    finally:
        _ip("netns", "delete", machine.name)


def _link(one: Machine, other: Machine, interface: str) -> None:
    """A pair of interfaces. An address may be at the ends of several, each with its own peer."""
    _ip("-n", one.name, "link", "add", interface, "type", "veth", "peer", "name", "home", "netns", other.name)
    for machine, peer, name in ((one, other, interface), (other, one, "home")):
        _ip("-n", machine.name, "address", "add", machine.address, "peer", peer.address, "dev", name)
        _ip("-n", machine.name, "link", "set", name, "up")


def _ip(*arguments: str) -> None:
    """Run the ip program; an error fails the test."""
    done = subprocess.run(
        [_program(), *arguments], capture_output=True, text=True, check=False, timeout=COMMAND_S
    )
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"


def _program() -> str:
    """The path of the ip program; a missing one fails the test."""
    found = _found()
    assert found is not None, HOW_TO_GET
    return found


def _found() -> str | None:
    """The path of the ip program, None where it is not installed."""
    return shutil.which("ip", path=f"{os.environ.get('PATH', '')}:{SUPERUSERS}")
