"""Debian's packages without root: apt with folders of its own, unpacking instead of installing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from kvchaos.servers.installation import CommandFailed, Runner

TCMALLOC_PACKAGES = ("libtcmalloc-minimal4t64", "libtcmalloc-minimal4")
"""The name in Debian 13 and Ubuntu 24.04, and the one before."""
URI = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
NETWORK_TIMEOUT_S = 30
SYSTEM_STATUS = Path("/var/lib/dpkg/status")


@dataclass(frozen=True, slots=True)
class Package:
    """A package as apt's verified lists describe it; `size` of the archive in bytes."""

    name: str
    version: str
    size: int
    sha256: str
    uri: str
    file: str
    """The name that apt gives to the archive."""


def can_fetch() -> bool:
    """Whether this is a Debian-like machine."""
    return all(shutil.which(program) for program in ("apt-get", "dpkg-deb"))


class Apt:
    """apt with lists and archives of its own in the folder `work`; nothing is installed.

    What is installed on this machine is read from the system's list.

    apt checks the signatures of the lists and the checksums of the archives. All methods raise
    CommandFailed.
    """

    def __init__(self, work: Path, runner: Runner) -> None:
        # apt-get download writes into its working directory.
        self._runner = replace(runner, folder=work)
        self._work = work
        self._options = _private_options(work, SYSTEM_STATUS)
        self._environment = {**os.environ, "LC_ALL": "C"}

    def update(self) -> None:
        """Fetch the lists of packages."""
        self._get("update")

    def download(self, package: str) -> list[Path]:
        """Download one package without its dependencies."""
        self._get("download", package)
        return sorted(self._work.glob("*.deb"))

    def closure(self, package: str) -> tuple[Package, ...]:
        """The package and all it depends on, without what is installed on this machine.

        Where apt refuses, since dependencies of what is installed are not met, nothing counts as installed.
        """
        arguments = ("install", "--print-uris", "--quiet=2", *_CLOSURE, package)
        try:
            return parse_uris(self._get(*arguments))
        except CommandFailed:
            nothing = self._work / "nothing-installed"
            nothing.touch()
            self._options = _private_options(self._work, nothing)
            return parse_uris(self._get(*arguments))

    def download_closure(self, package: str, packages: Iterable[Package]) -> list[tuple[Package, Path]]:
        """Download what `closure` gave; returns each package with its archive."""
        self._get("install", "--download-only", *_CLOSURE, package)
        return [(one, self._archive(one)) for one in packages]

    def unpack(self, archive: Path, root: Path) -> None:
        """Unpack one archive into `root`."""
        self._runner.run(["dpkg-deb", "-x", archive, root], self._environment)

    def _archive(self, package: Package) -> Path:
        # apt does not copy an archive of a local repository.
        local = package.uri.removeprefix("file:") if package.uri.startswith("file:/") else None
        path = Path(unquote(local)) if local else self._work / "cache/archives" / package.file
        if not path.is_file():
            raise CommandFailed("apt-get", 0, f"{package.file} was not downloaded")
        return path

    def _get(self, *arguments: str) -> list[str]:
        return self._runner.run(["apt-get", *self._options, *arguments], self._environment)


_CLOSURE = ("--yes", "--no-install-recommends")


def parse_uris(lines: Iterable[str]) -> tuple[Package, ...]:
    """Packages of the output of `apt-get install --print-uris` with SHA256 checksums."""
    packages = []
    for match in filter(None, map(URI.match, lines)):
        name, version, _ = match["file"].rsplit("_", 2)
        packages.append(
            Package(name, unquote(version), int(match["size"]), match["sha256"], match["uri"], match["file"])
        )
    return tuple(packages)


def fetch_library(name: str, packages: Sequence[str], target: Path, runner: Runner) -> Path | None:
    """Fetch the first of the packages that exists and put its library `name` into `target`.

    Nothing is installed on the system. None when no package can be obtained. Raises CommandFailed when
    a package cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=target) as scratch:
        work = Path(scratch)
        apt = Apt(work, runner)
        try:
            apt.update()
        except CommandFailed:
            return None
        for package in packages:
            try:
                archives = apt.download(package)
            except CommandFailed:
                continue
            for archive in archives:
                apt.unpack(archive, work / "root")
            return _take(name, work / "root", target)
    return None


def _private_options(work: Path, status: Path) -> list[str]:
    """Options that keep apt away from the system's own folders and locks."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": work / "state",
        "Dir::State::lists": work / "state/lists",
        "Dir::State::status": status,
        "Dir::Cache": work / "cache",
        "Dir::Cache::archives": work / "cache/archives",
        "Debug::NoLocking": "1",
        # The folders are ours alone; apt's own download user could not write there.
        "APT::Sandbox::User": "root",
        "APT::Keep-Downloaded-Packages": "true",
        "Acquire::ForceHash": "SHA256",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": NETWORK_TIMEOUT_S,
        "Acquire::https::Timeout": NETWORK_TIMEOUT_S,
    }
    return [argument for key, value in settings.items() for argument in ("-o", f"{key}={value}")]


def _take(name: str, unpacked: Path, target: Path) -> Path | None:
    """Copy the library behind the link `name` to `target`, in one step."""
    found = next(iter(sorted(unpacked.rglob(name))), None)
    if found is None:
        return None
    draft = target / f".{name}.{os.getpid()}"
    shutil.copyfile(found.resolve(), draft)
    draft.chmod(0o755)
    return draft.replace(target / name)
