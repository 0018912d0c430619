"""A program that the suite starts and does not contain: where it is, and its record in the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from history.strict_model import Strict
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, tools_folder

RECORD = "tool.json"
PROGRAMS = "bin"
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Tool:
    """What is known of a program before it is found."""

    name: str
    """Name of its folder in the cache, and of the program that is started."""
    title: str
    variable: str
    """Environment variable with the path of a program that is taken before all others."""
    path_names: tuple[str, ...]
    """Names on the PATH, the best first."""
    package: str
    """Name of the package in Debian; empty: it is not there."""
    programs: tuple[tuple[str, str], ...]
    """Programs of the package: the name of each, and its path below the root of an unpacked package."""
    trial: tuple[str, ...]
    """Arguments with which the program starts, shows that it works, and ends."""
    requirement: str = ""
    """In the Python package index, with its version; empty: it is not there."""

    @property
    def install_command(self) -> str:
        """Our own command that obtains it."""
        return f"kvchaos tools install {self.name}"

    @property
    def how_to_install(self) -> str:
        """How to get it by other means than ours."""
        source = (
            f"Debian: sudo apt install {self.package}" if self.package else f"uv tool: {self.requirement}"
        )
        return f"install {self.title} ({source}), or: export {self.variable}=PATH"

    @property
    def how_to_get(self) -> str:
        """How to get it, by whatever means."""
        return f"get it with: {self.install_command}, or {self.how_to_install}"


def find_tool(environ: Mapping[str, str], tool: Tool) -> Path | None:
    """The program that the variable names if it is set, else the one on the PATH, else the one in the cache.

    None when there is none. Raises UsageError for a cache folder that cannot be used.
    """
    return named_or_on_path(environ, tool) or tool_in_cache(environ, tool)


def need_tool(environ: Mapping[str, str], tool: Tool) -> Path:
    """Path of a program. Raises UsageError when it is missing, or not at the path of its variable."""
    found = find_tool(environ, tool)
    if found is not None:
        return found
    if named := environ.get(tool.variable):
        raise UsageError(f"{tool.variable}: {named} is not a program; correct it, or: unset {tool.variable}")
    raise UsageError(f"no {tool.title} found: {tool.how_to_get}")


def named_or_on_path(environ: Mapping[str, str], tool: Tool) -> Path | None:
    """The program that the environment names; what is in the cache is not looked at."""
    named = environ.get(tool.variable)
    path = environ.get("PATH", os.environ.get("PATH"))
    found = (shutil.which(name, path=path) for name in ((named,) if named else tool.path_names))
    return next((Path(one) for one in found if one is not None), None)


def tool_in_cache(environ: Mapping[str, str], tool: Tool) -> Path | None:
    """The program that `kvchaos tools install` put into the cache; None when it is not there or not whole.

    None, too, when the variable of the tool is set: the program that it names is not replaced by another.
    Raises UsageError for a cache folder that cannot be used.
    """
    if environ.get(tool.variable):
        return None
    program = tools_folder(cache_folder(environ)) / tool.name / PROGRAMS / tool.name
    return program if os.access(program, os.X_OK) else None


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether this is continuous integration, where a missing program is a failure."""
    return environ.get("CI") == "true"


MB = 1_000_000


class PackageRecord(Strict):
    """A package that was unpacked; `size` of its archive in bytes."""

    name: str
    version: str
    size: int
    sha256: str
    """Digest of the archive, as the signed lists of packages state it and apt checked it."""


class ToolRecord(Strict):
    """Written into the folder of the program."""

    tool: str
    version: str
    source: Literal["apt", "Playwright", "package index"]
    unpacked: int
    """Bytes on disk."""
    packages: tuple[PackageRecord, ...] = ()
    """Empty for a download of Playwright's, which has no checksum, and for the package index."""

    def summary(self) -> str:
        """Version and sizes, as one phrase."""
        size = f"{self.unpacked / MB:.0f} MB on disk"
        if self.packages:
            download = sum(one.size for one in self.packages) / MB
            size = f"{len(self.packages)} packages, {download:.0f} MB downloaded, {size}"
        return f"{self.version} from {self.source}, {size}"


def read_record(folder: Path, tool: Tool) -> ToolRecord | None:
    """The record in the folder of a program; None when it is missing or broken, or a program is missing."""
    try:
        record = ToolRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if (folder / PROGRAMS / tool.name).is_file() else None


def write_record(folder: Path, record: ToolRecord) -> None:
    """Raises OSError."""
    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


BROWSER_VARIABLE = "KVCHAOS_CHROMIUM"
BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = (
    # Started by root, or where the kernel gives no name spaces to ordinary users, it has no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM = Tool(
    name="chromium",
    title="Chromium",
    variable=BROWSER_VARIABLE,
    path_names=BROWSER_NAMES,
    package="chromium",
    # The package's /usr/bin/chromium is a script that looks for the program below /usr/lib.
    programs=(("chromium", "usr/lib/chromium/chromium"),),
    trial=("--headless", *BROWSER_ARGUMENTS, "--dump-dom", "about:blank"),
)


def find_browser(environ: Mapping[str, str]) -> Path | None:
    """$KVCHAOS_CHROMIUM if it is set, else the first of BROWSER_NAMES on the PATH, else that of the cache."""
    return find_tool(environ, CHROMIUM)


def need_browser(environ: Mapping[str, str]) -> Path:
    """Raises UsageError when there is none."""
    return need_tool(environ, CHROMIUM)
