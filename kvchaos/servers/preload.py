"""The libraries that a server on the CPU preloads: the system's tcmalloc, its environment's libiomp5."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.paths import lib_folder
from kvchaos.servers import debian
from kvchaos.servers.installation import Runner

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
LIB_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib64")
IOMP5 = Path("lib/libiomp5.so")
HOW_TO_GET_TCMALLOC = (
    "libtcmalloc is not on this machine; install it "
    "(Debian: libtcmalloc-minimal4t64 or libtcmalloc-minimal4, Fedora: gperftools-libs)"
)


def resolve(names: Sequence[str], prefix: Path, cache: Path, runner: Runner) -> tuple[str, ...]:
    """Return absolute paths of the named libraries for the environment at `prefix`.

    Fetches tcmalloc into the cache where the system lacks it and it can be fetched without root.
    Raises UsageError when a library cannot be had.
    """
    return tuple(str(_resolve_one(name, prefix, cache, runner)) for name in names)


def _resolve_one(name: str, prefix: Path, cache: Path, runner: Runner) -> Path:
    if name == "tcmalloc":
        return ensure_tcmalloc(cache, runner)
    if name == "iomp5":
        if not (prefix / IOMP5).is_file():
            raise UsageError(f"{prefix / IOMP5} is missing; install intel-openmp into that environment")
        return prefix / IOMP5
    raise ValueError(f"unknown library {name!r}")


def find_tcmalloc(cache: Path) -> Path | None:
    """Where tcmalloc is, on the system or in the cache; None when it is nowhere."""
    listed = parse_ldconfig(_ldconfig())
    folders = [*map(Path, LIB_FOLDERS), lib_folder(cache)]
    candidates = [*(listed[name] for name in TCMALLOC if name in listed)]
    candidates += [folder / name for name in TCMALLOC for folder in folders]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def ensure_tcmalloc(cache: Path, runner: Runner) -> Path:
    """Return tcmalloc, fetched into the cache where the system lacks it. Raises UsageError."""
    found = find_tcmalloc(cache)
    if found is not None:
        return found
    if not debian.can_fetch():
        raise UsageError(HOW_TO_GET_TCMALLOC)
    runner.progress.step("fetching libtcmalloc")
    folder = lib_folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = debian.fetch_library(TCMALLOC[0], debian.TCMALLOC_PACKAGES, folder, runner)
    if fetched is None:
        raise UsageError(HOW_TO_GET_TCMALLOC)
    return fetched


def parse_ldconfig(text: str) -> dict[str, Path]:
    """64-bit libraries of this machine, by name, from the output of `ldconfig -p`."""
    lines: Iterable[re.Match[str]] = re.finditer(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", text, re.MULTILINE)
    return {match[1]: Path(match[3]) for match in lines if "x86-64" in match[2]}


def _ldconfig() -> str:
    # Not on an ordinary user's PATH on Debian.
    program = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return ""
    answer = subprocess.run([program, "-p"], capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else ""
