"""Folders and pages with more wheels from the settings of pip or uv; a CPU build of torch may be there.

uv does not read pip's settings, so they are handed on.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path


def configured_find_links(base_python: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """All find-links: of uv's and pip's environment variables, then of pip's files. None twice."""
    return usable(
        [
            *environ.get("UV_FIND_LINKS", "").split(","),
            *environ.get("PIP_FIND_LINKS", "").split(),
            *parse_pip_config(_pip_config(base_python)),
        ]
    )


def parse_pip_config(text: str) -> list[str]:
    """The find-links in the output of `pip config list`: lines such as global.find-links='/a /b'."""
    links: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.split(".")[-1] != "find-links":
            continue
        try:
            links += str(ast.literal_eval(value)).split()
        except (ValueError, SyntaxError):
            links += value.split()
    return links


def usable(links: Iterable[str]) -> list[str]:
    """Make folders absolute and leave out missing ones: uv stops at a folder that pip only warns about."""
    usable_links: dict[str, None] = {}
    for link in map(str.strip, links):
        if "://" in link:
            usable_links[link] = None
        elif link and (folder := Path(link).expanduser().absolute()).exists():
            usable_links[str(folder)] = None
    return list(usable_links)


def _pip_config(base_python: Path) -> str:
    """The settings of pip as it prints them; empty when there is no pip."""
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
