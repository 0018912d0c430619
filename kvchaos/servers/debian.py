"""Fetching one library from Debian's packages without root: apt with folders of one's own, then unpacking."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kvchaos.servers.commands import CommandFailed, Runner

TCMALLOC_PACKAGES = ("libtcmalloc-minimal4t64", "libtcmalloc-minimal4")
"""The name in Debian 13 and Ubuntu 24.04, and the one before."""


def can_fetch() -> bool:
    """Whether this is a Debian-like machine."""
    return all(shutil.which(program) for program in ("apt-get", "dpkg-deb"))


def fetch_library(name: str, packages: Sequence[str], target: Path, runner: Runner) -> Path | None:
    """Fetch the first of the packages that exists and put its library `name` into `target`.

    Nothing is installed on the system. None when no package could be had. Raises CommandFailed when
    a package cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=target) as scratch:
        work = Path(scratch)
        options = _private_apt(work)
        # apt-get download writes into its working directory.
        there = replace(runner, folder=work)
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            there.run(["apt-get", *options, "update"], environment)
        except CommandFailed:
            return None
        for package in packages:
            try:
                there.run(["apt-get", *options, "download", package], environment)
            except CommandFailed:
                continue
            for archive in work.glob("*.deb"):
                there.run(["dpkg-deb", "-x", archive, work / "root"], environment)
            return _take(name, work / "root", target)
    return None


def _private_apt(work: Path) -> list[str]:
    """Options that keep apt away from the system's own folders and locks."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    settings = {
        "Dir::State": work / "state",
        "Dir::State::lists": work / "state/lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": work / "cache",
        "Debug::NoLocking": "1",
        # The folders are ours alone; apt's own download user could not write there.
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _take(name: str, unpacked: Path, target: Path) -> Path | None:
    """Copy the library behind the link `name` to `target`, in one step."""
    found = next(iter(sorted(unpacked.rglob(name))), None)
    if found is None:
        return None
    draft = target / f".{name}.{os.getpid()}"
    shutil.copyfile(found.resolve(), draft)
    draft.chmod(0o755)
    return draft.replace(target / name)
