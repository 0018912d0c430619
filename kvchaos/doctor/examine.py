"""All checks, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kvchaos.doctor import disk, hardware, limits, programs, servers
from kvchaos.doctor.check import Check


def examine(cache: Path, runs: Path) -> Iterator[Check]:
    """Look at this machine: for servers in `cache` and run directories in `runs`."""
    yield from hardware.examine()
    yield from disk.examine(cache, runs)
    yield from limits.examine()
    yield from programs.examine(cache)
    yield from servers.examine(cache)
