"""The part of the suite that a server can see: chaos and the protocol, in a folder of the run."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from kvchaos.errors import UsageError

PLUGIN = "plugin"
HOSTCOPY = ("chaos/__init__.py", "chaos/hostcopy")
PLUGIN_PARTS = (*HOSTCOPY, "chaos/inside", "history/__init__.py", "history/protocol")
PLAIN_PARTS = HOSTCOPY
"""For a server without the chaos module: it cannot even be imported there."""


def link_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with links to these parts and no other, for a server that sees this machine's files."""
    folder = run_dir / PLUGIN
    for part in parts:
        _target(folder, part).symlink_to(_source(part))
    return folder


def copy_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with a copy of these parts and no other, for a server that sees nothing but the folder."""
    folder = run_dir / PLUGIN
    for part in parts:
        source, target = _source(part), _target(folder, part)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    return folder


def _target(folder: Path, part: str) -> Path:
    target = folder / part
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _source(part: str) -> Path:
    package, _, rest = part.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"the package {package} is missing: install kvchaos again")
    return Path(found.submodule_search_locations[0]).resolve() / rest
