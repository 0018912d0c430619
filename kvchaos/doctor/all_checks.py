"""All checks, one after another; those of installed programs and server environments are here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

from kvchaos import paths
from kvchaos.doctor.check import Check, CheckState
from kvchaos.doctor.machine_checks import examine_disk, examine_hardware, examine_limits
from kvchaos.errors import UsageError
from kvchaos.prometheus import program
from kvchaos.servers import debian, install_server
from kvchaos.servers.server_registry import ServerEnv, read_server
from kvchaos.tools.tool import CHROMIUM, find_browser


def examine(cache: Path, runs: Path) -> Iterator[Check]:
    """Look at this machine: for servers in `cache` and run directories in `runs`."""
    yield from examine_hardware()
    yield from examine_disk(cache, runs)
    yield from examine_limits()
    yield from examine_programs(cache)
    yield from examine_servers(cache)


def examine_programs(cache: Path) -> Iterator[Check]:
    """Check uv, tcmalloc, Chromium and Prometheus."""
    yield check_uv(_uv_binary())
    yield check_tcmalloc(install_server.find_tcmalloc(cache), debian.can_fetch())
    yield check_browser(find_browser(os.environ))
    yield check_prometheus(program.find_prometheus(os.environ))


def check_uv(binary: Path | None) -> Check:
    """Check that uv is installed."""
    if binary is None:
        return Check("uv", CheckState.BAD, "missing", "make setup")
    return Check("uv", CheckState.OK, str(binary))


def check_tcmalloc(found: Path | None, fetchable: bool) -> Check:
    """Check that tcmalloc is installed, or can be fetched from Debian."""
    if found is not None:
        return Check("tcmalloc", CheckState.OK, str(found))
    if fetchable:
        return Check("tcmalloc", CheckState.OK, "not here; fetched with the first server")
    return Check("tcmalloc", CheckState.BAD, "missing", install_server.HOW_TO_GET_TCMALLOC)


def check_browser(found: Path | None) -> Check:
    """Check that a Chromium is installed; a warning if not."""
    if found is None:
        fix = CHROMIUM.install_command
        return Check("browser", CheckState.WARN, "missing; make test needs it", fix)
    return Check("browser", CheckState.OK, f"{found}, for make test")


def check_prometheus(found: Path | None) -> Check:
    """Check that Prometheus is installed; a warning if not."""
    if found is None:
        fix = program.PROMETHEUS.install_command
        return Check("Prometheus", CheckState.WARN, "missing; make test needs it", fix)
    return Check("Prometheus", CheckState.OK, str(found))


def _uv_binary() -> Path | None:
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


def examine_servers(cache: Path) -> Iterator[Check]:
    """Every server's folder, by its files alone: importing vLLM would take many seconds each."""
    folders = sorted(path for path in paths.servers_folder(cache).glob("[!.]*") if path.is_dir())
    if not folders:
        yield Check("servers", CheckState.OK, "none yet", "kvchaos server install 0.32.0")
    for folder in folders:
        name = f"server {folder.name}"
        try:
            server = read_server(folder)
        except UsageError as error:
            yield Check(name, CheckState.BAD, str(error), f"kvchaos server remove {folder.name}")
            continue
        if server is None:
            yield Check(
                name, CheckState.WARN, "not installed to its end", f"kvchaos server install {folder.name}"
            )
        else:
            yield check_server(server)


def check_server(server: ServerEnv) -> Check:
    """Check that the files of a server environment exist."""
    missing = server.missing_files()
    if missing:
        again = f"kvchaos server install {server.name}"
        fix = again if server.kind == "installed" else f"kvchaos server remove {server.name}"
        return Check(f"server {server.name}", CheckState.BAD, f"{missing[0]} does not exist any more", fix)
    return Check(f"server {server.name}", CheckState.OK, f"vLLM {server.vllm}, torch {server.torch}")
