"""The harness with Grafana's packages of one version, bundled for a browser; in the cache folder.

`python -m tests.boards.panel_bundles VERSION...` makes them. The packages take 460 MB; only the bundle stays.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kvchaos.paths import cache_folder
from kvchaos.servers.installation import exclusive
from tests.boards.node_program import find_node

FOLDER = Path(__file__).parent / "panels"
HARNESS = FOLDER / "harness"
VERSIONS = ("11.6.16", "12.4.10", "13.2.3")
NEWEST = VERSIONS[-1]
VARIABLE = "KVCHAOS_GRAFANA"
PAGE = "board.html"
LIMIT_S = 540.0
ESBUILD = (
    "harness/board.jsx",
    "harness/page.css",
    "--bundle",
    "--minify",
    "--format=iife",
    "--jsx=automatic",
    "--loader:.svg=empty",
    "--loader:.ttf=empty",
    '--define:process.env.NODE_ENV="production"',
    "--log-level=warning",
    "--outdir=bundle",
)
HTML = """<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="page.css">
<div id="board"></div>
<script src="board.js"></script>
"""


def chosen_versions(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The versions that KVCHAOS_GRAFANA names, else all."""
    versions = tuple(environ.get(VARIABLE, "").split()) or VERSIONS
    unknown = set(versions) - set(VERSIONS)
    assert not unknown, f"{VARIABLE}: {', '.join(sorted(unknown))}: not one of {', '.join(VERSIONS)}"
    return versions


def panel_bundle(version: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The page that draws boards with one version of Grafana's packages. Made where it is missing."""
    parent = cache_folder(environ) / "panels"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{version}-{_digest(version)}"
    with exclusive(parent / f".lock-{version}", lambda: None):
        if not folder.exists():
            for old in parent.glob(f"{version}-*"):
                shutil.rmtree(old)
            _make(version, parent / f".draft-{version}", folder, environ)
    return folder / PAGE


def _digest(version: str) -> str:
    """Of all files that the bundle is made of."""
    found = hashlib.sha256(" ".join(ESBUILD).encode())
    for path in sorted([*HARNESS.iterdir(), *(FOLDER / version).iterdir()]):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _make(version: str, draft: Path, folder: Path, environ: Mapping[str, str]) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(FOLDER / version, draft)
    shutil.copytree(HARNESS, draft / "harness")
    programs = find_node(environ)
    # A cache of its own: that of the user would grow by 170 MB.
    _run([*programs.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", "npm-cache"], draft)
    _run([*programs.node, "node_modules/esbuild/bin/esbuild", *ESBUILD], draft)
    (draft / "bundle" / PAGE).write_text(HTML)
    (draft / "bundle").rename(folder)
    shutil.rmtree(draft)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


if __name__ == "__main__":
    sys.stdout.writelines(
        f"{panel_bundle(version)}\n" for version in sys.argv[1:] or chosen_versions(os.environ)
    )
