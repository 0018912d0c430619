"""Folders and pages with more wheels that the user told pip or uv about; a CPU build of torch may lie there.

uv does not read pip's settings, so they are handed on.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path


def configured_find_links(base_python: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """All find-links places: of uv's and pip's environment variables, then of pip's files. None twice."""
    return usable(
        [
            *environ.get("UV_FIND_LINKS", "").split(","),
            *environ.get("PIP_FIND_LINKS", "").split(),
            *parse_pip_config(_pip_config(base_python)),
        ]
    )


def parse_pip_config(text: str) -> list[str]:
    """The find-links places in the output of `pip config list`: lines such as global.find-links='/a /b'."""
    places: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.split(".")[-1] != "find-links":
            continue
        try:
            places += str(ast.literal_eval(value)).split()
        except (ValueError, SyntaxError):
            places += value.split()
    return places


def usable(places: Iterable[str]) -> list[str]:
    """Make folders absolute and leave out missing ones: uv stops at a folder that pip only warns about."""
    kept: dict[str, None] = {}
    for place in map(str.strip, places):
        if "://" in place:
            kept[place] = None
        elif place and (folder := Path(place).expanduser().absolute()).exists():
            kept[str(folder)] = None
    return list(kept)


def _pip_config(base_python: Path) -> str:
    """What pip says of its settings; nothing when there is no pip."""
    try:
        answer = subprocess.run(
            [base_python, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
