"""The limits of an account: open files, processes, watches, locked memory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvchaos.doctor.check import Check, CheckState
from kvchaos.doctor.proc_files import entries, field, number, processes, read

FILES_LEAST = 512
"""For every scenario that comes with kvchaos."""
FILES_WANTED = 4096
"""For `make bench-client`, which has up to 2,000 connections, and for loads of that size."""
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
        return self.limit - self.used


def examine() -> Iterator[Check]:
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
        return Check("inotify", CheckState.WARN, "unknown", f"see that {INOTIFY} can be read")
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
    """Those that hold for this process: the account's, from which root is exempt, and those of its cgroup."""
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
