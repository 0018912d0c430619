"""The part of the suite that a server can see: the chaos package, in a folder of the run."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from kvchaos.errors import UsageError

PLUGIN = "plugin"
PACKAGE = "chaos"
PLUGIN_PARTS = ("hostcopy", "inside")
PLAIN_PARTS = ("hostcopy",)
"""For a server without the chaos module: it cannot even be imported there."""
INIT = "__init__.py"


def link_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with links to these parts and no other, for a server that sees this machine's files."""
    source, target = _source(), _make(run_dir)
    for part in (INIT, *parts):
        (target / part).symlink_to(source / part)
    return target.parent


def copy_plugin(run_dir: Path, parts: tuple[str, ...]) -> Path:
    """A folder with a copy of these parts and no other, for a server that sees nothing but the folder."""
    source, target = _source(), _make(run_dir)
    shutil.copyfile(source / INIT, target / INIT)
    for part in parts:
        shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    return target.parent


def _make(run_dir: Path) -> Path:
    target = run_dir / PLUGIN / PACKAGE
    target.mkdir(parents=True)
    return target


def _source() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"the package {PACKAGE} is missing: install kvchaos again")
    return Path(found.submodule_search_locations[0]).resolve()
