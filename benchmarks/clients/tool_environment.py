"""Python environments of the other load generators, in the cache folder; each is installed once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from uv import find_uv_bin

from benchmarks.clients.other_tools import LoadTool
from kvchaos.servers.commands import Runner
from kvchaos.servers.find_links import configured_find_links
from kvchaos.servers.install_progress import InstallProgress

DONE = "installed"
"""Written last: without it the installation is repeated."""


def ensure_environment(tool: LoadTool, folder: Path, progress: InstallProgress) -> Path:
    """The interpreter of the tool's environment. Raises kvchaos.servers.commands.CommandFailed, OSError."""
    environment_folder = folder / f"{tool.name.split()[0]}-{tool.version}"
    python = environment_folder / "env" / "bin" / "python"
    if (environment_folder / DONE).is_file() and python.exists():
        return python
    shutil.rmtree(environment_folder, ignore_errors=True)
    environment_folder.mkdir(parents=True)
    progress.step(f"installing {tool.name} {tool.version} into {environment_folder}")
    uv, runner = find_uv_bin(), Runner(progress, environment_folder, environment_folder / "install.log")
    runner.run(
        [uv, "venv", "--no-project", "--python", sys.executable, environment_folder / "env"], os.environ
    )
    overrides = environment_folder / "overrides.txt"
    overrides.write_text("\n".join(tool.overrides) + "\n")
    locations = configured_find_links(Path(sys.executable))
    links = [argument for location in locations for argument in ("--find-links", location)]
    runner.run(
        [uv, "pip", "install", "--python", python, "--override", overrides, *links, *tool.packages],
        {"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    (environment_folder / DONE).touch()
    return python
