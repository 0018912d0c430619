"""A program that the suite starts and does not contain, and where this machine has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder, tools_folder

RECORD = "tool.json"
PROGRAMS = "bin"
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Tool:
    """What is known of a program before it is found."""

    name: str
    """Of its folder in the cache, and of the program that is started."""
    title: str
    variable: str
    """Environment variable with the path of a program that is taken before all others."""
    path_names: tuple[str, ...]
    """Names on the PATH, the best first."""
    package: str
    """In Debian."""
    programs: tuple[tuple[str, str], ...]
    """Programs of the package: the name of each, and its path below the root of an unpacked package."""
    trial: tuple[str, ...]
    """Arguments with which the program starts, shows that it works, and ends."""

    @property
    def install_command(self) -> str:
        """Our own command that obtains it."""
        return f"kvchaos tools install {self.name}"

    @property
    def how_to_install(self) -> str:
        """How to get it by other means than ours."""
        return (
            f"install {self.title} (Debian: sudo apt install {self.package}), or: export {self.variable}=PATH"
        )

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
    """Where the program is. Raises UsageError when it is nowhere, or not where its variable says."""
    found = find_tool(environ, tool)
    if found is not None:
        return found
    if named := environ.get(tool.variable):
        raise UsageError(f"{tool.variable}: {named} is no program; correct it, or: unset {tool.variable}")
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
