"""A package of its own with a fault, a rule and a workload: those that the pages of docs/ show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("write-a-fault", "write-a-rule", "write-a-workload")
NAME = "acme_units"
ORIGIN = "acme-units 1.0"
METADATA = "Metadata-Version: 2.1\nName: acme-units\nVersion: 1.0\n"
_FILE = re.compile(r"This one is `(\w+\.py)`")


def block(page: str, language: str) -> str:
    """The one block of code of a language in a page of docs/."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


def module_file(page: str) -> str:
    """The file in which a page puts its module."""
    match = _FILE.search((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert match is not None
    return match[1]


def entry_points() -> str:
    """As an installer writes them, of all pages."""
    text = "".join(block(page, "toml") for page in PAGES)
    return re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", text).replace('"', "")


def write_package(site: Path, broken: str = "", change: tuple[str, str] = ("", "")) -> Path:
    """Install the package into a folder of modules.

    The module of the page `broken` cannot be imported, or has the second text of `change` for the first.
    """
    before, after = change
    package, metadata = site / NAME, site / f"{NAME}-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    for page in PAGES:
        text = block(page, "python")
        if page == broken:
            assert before in text
            text = text.replace(before, after) if before else "raise OSError('acme is closed')\n"
        (package / module_file(page)).write_text(text, encoding="utf-8")
    (metadata / "METADATA").write_text(METADATA, encoding="utf-8")
    (metadata / "entry_points.txt").write_text(entry_points(), encoding="utf-8")
    return site


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The suite's interpreter with the package, from the checkout."""
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "COLUMNS": "500", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
