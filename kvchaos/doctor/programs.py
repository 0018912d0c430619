"""Programs and libraries that the suite uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

from kvchaos.doctor.check import Check, CheckState
from kvchaos.prometheus import program
from kvchaos.servers import debian, preload
from kvchaos.tools import browser


def examine(cache: Path) -> Iterator[Check]:
    yield check_uv(_uv_binary())
    yield check_tcmalloc(preload.find_tcmalloc(cache), debian.can_fetch())
    yield check_browser(browser.find_browser(os.environ))
    yield check_prometheus(program.find_prometheus(os.environ))


def check_uv(binary: Path | None) -> Check:
    if binary is None:
        return Check("uv", CheckState.BAD, "missing", "make setup")
    return Check("uv", CheckState.OK, str(binary))


def check_tcmalloc(found: Path | None, fetchable: bool) -> Check:
    if found is not None:
        return Check("tcmalloc", CheckState.OK, str(found))
    if fetchable:
        return Check("tcmalloc", CheckState.OK, "not here; fetched with the first server")
    return Check("tcmalloc", CheckState.BAD, "missing", preload.HOW_TO_GET_TCMALLOC)


def check_browser(found: Path | None) -> Check:
    if found is None:
        fix = browser.CHROMIUM.install_command
        return Check("browser", CheckState.WARN, "missing; make test needs it", fix)
    return Check("browser", CheckState.OK, f"{found}, for make test")


def check_prometheus(found: Path | None) -> Check:
    if found is None:
        fix = program.PROMETHEUS.install_command
        return Check("Prometheus", CheckState.WARN, "missing; make test needs it", fix)
    return Check("Prometheus", CheckState.OK, str(found))


def _uv_binary() -> Path | None:
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None
