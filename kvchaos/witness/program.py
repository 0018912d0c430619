"""The Prometheus program of this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kvchaos.errors import UsageError

VARIABLE = "KVCHAOS_PROMETHEUS"
NAME = "prometheus"
HOW_TO_GET = f"install Prometheus (Debian: sudo apt install prometheus), or: export {VARIABLE}=PATH"


def find_prometheus(environ: Mapping[str, str]) -> Path | None:
    """$KVCHAOS_PROMETHEUS when it is set, else the one on the PATH; None when there is none."""
    found = shutil.which(environ.get(VARIABLE) or NAME)
    return Path(found) if found is not None else None


def need_prometheus(environ: Mapping[str, str]) -> Path:
    """Raises UsageError when there is none."""
    found = find_prometheus(environ)
    if found is None:
        raise UsageError(f"no Prometheus found: {HOW_TO_GET}")
    return found


def version_of(program: Path) -> str:
    """Raises UsageError for what is no Prometheus."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{program}: cannot be run: {error}") from error
    told = re.match(r"prometheus, version (\S+)", done.stdout + done.stderr)
    if told is None:
        raise UsageError(f"{program} is no Prometheus: {HOW_TO_GET}")
    return told[1]
