"""The folders of the suite: the cache folder, the runs folder, and folders for measurements."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError

CACHE_VARIABLE = "KVCHAOS_CACHE"
RUNS_VARIABLE = "KVCHAOS_RUNS"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders and the port that a campaign uses."""

    cache: Path
    runs: Path
    port: int | None
    """None: a free one for each server."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return $KVCHAOS_CACHE, else $XDG_CACHE_HOME/kvchaos, else ~/.cache/kvchaos; absolute, maybe not there.

    The servers preload libraries from it, and the loader splits its list at colons and white space:
    raises UsageError for a path that has one.
    """
    folder = _cache_folder(environ)
    if ":" in str(folder) or any(char.isspace() for char in str(folder)):
        raise UsageError(
            f"cache folder {str(folder)!r}: libraries cannot be preloaded from a path with a space or colon; "
            f"set {CACHE_VARIABLE} to another folder"
        )
    return folder


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if named := environ.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    if (shared := environ.get("XDG_CACHE_HOME")) and Path(shared).is_absolute():
        return Path(shared) / "kvchaos"
    try:
        return Path.home() / ".cache" / "kvchaos"
    except RuntimeError as error:
        raise UsageError(f"no home folder is known; set {CACHE_VARIABLE} to a folder") from error


def runs_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return $KVCHAOS_RUNS, else ./runs; absolute, maybe not there yet."""
    return Path(environ.get(RUNS_VARIABLE) or "runs").expanduser().absolute()


def beside_packages(name: str) -> Path:
    """A folder that lies beside the packages, in a checkout and in an installation alike."""
    found = importlib.util.find_spec("kvchaos")
    if found is None or found.origin is None:
        raise UsageError("the package kvchaos is missing: install it again")
    return Path(found.origin).parent.parent / name


def servers_folder(cache: Path) -> Path:
    """One folder for each server environment."""
    return cache / "servers"


def builds_folder(cache: Path) -> Path:
    """Environments of builds of vLLM that a nightly job made, one folder for each."""
    return cache / "builds"


def models_folder(cache: Path) -> Path:
    """The model under test, made on the spot."""
    return cache / "models"


def state_folder(cache: Path) -> Path:
    """Process registries of runs, so that a later command can clean up after one that was killed."""
    return cache / "state"


def images_folder(cache: Path) -> Path:
    """Logs of built and pulled images."""
    return cache / "images"


def lib_folder(cache: Path) -> Path:
    """Libraries that servers preload and the system does not have."""
    return cache / "lib"


def tools_folder(cache: Path) -> Path:
    """Prometheus, Chromium and others, each in a folder of its own, where the system does not have them."""
    return cache / "tools"


def bench_tools_folder(cache: Path) -> Path:
    """Other load generators, each in an environment of its own, for `make bench-client`."""
    return cache / "bench-tools"


def logs_folder(cache: Path) -> Path:
    """Logs of measurements that failed, kept until the next one."""
    return cache / "logs"


def client_bench_folder(cache: Path) -> Path:
    """What `kvchaos client-bench` measured on this machine."""
    return cache / "client-bench"


def matrix_runs_folder(cache: Path) -> Path:
    """The run directories of `kvchaos matrix`, from which cells are judged again."""
    return cache / "matrix-runs"


LOG = ".log"


class LogFolder:
    """One for each command that measures; a message may name a log in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def empty(self) -> None:
        """Remove what failed measurements left; folders that one at work uses stay. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in self.path.iterdir():
            if folder.is_dir() and all(path.suffix == LOG for path in folder.iterdir()):
                shutil.rmtree(folder)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder for one measurement. Records can be large: after a failure only the logs stay."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))
        succeeded = False
        try:
            yield folder
            succeeded = True
        finally:
            if succeeded:
                shutil.rmtree(folder)
            else:
                _keep_logs(folder)


def _keep_logs(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != LOG or not path.stat().st_size:
            path.unlink()
