"""The browser in which the tests look at the report. Nothing else needs one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "KVCHAOS_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET = f"install Chromium (Debian: sudo apt install chromium), or: export {VARIABLE}=PATH"


def find_browser(environ: Mapping[str, str]) -> Path | None:
    """$KVCHAOS_CHROMIUM when it is set, else the first of NAMES on the PATH; None when there is none."""
    told = environ.get(VARIABLE)
    found = map(shutil.which, (told,) if told else NAMES)
    return next((Path(path) for path in found if path is not None), None)
