"""The browser in which the tests look at the report. Nothing else needs one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvchaos.tools.tool import Tool, find_tool, need_tool

VARIABLE = "KVCHAOS_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
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
    variable=VARIABLE,
    path_names=NAMES,
    package="chromium",
    # The package's /usr/bin/chromium is a script that looks for the program below /usr/lib.
    programs=(("chromium", "usr/lib/chromium/chromium"),),
    trial=("--headless", *ARGUMENTS, "--dump-dom", "about:blank"),
)
HOW_TO_GET = CHROMIUM.how_to_get


def find_browser(environ: Mapping[str, str]) -> Path | None:
    """$KVCHAOS_CHROMIUM if it is set, else the first of NAMES on the PATH, else that of the cache."""
    return find_tool(environ, CHROMIUM)


def need_browser(environ: Mapping[str, str]) -> Path:
    """Raises UsageError when there is none."""
    return need_tool(environ, CHROMIUM)
