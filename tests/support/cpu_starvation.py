"""Starve a process of CPU time: by the kernel's quota where that can be set, else by signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_S = 1.0
US = 1_000_000


@contextmanager
def starved(pid: int, share: float) -> Iterator[str]:
    """Let a process run for this share of each second only; tells by what means."""
    group = _group_with_quota(share)
    if group is None:
        with _by_signals(pid, share):
            yield "signals"
        return
    before = group.parent / "cgroup.procs"
    (group / "cgroup.procs").write_text(str(pid))
    try:
        yield "quota"
    finally:
        with suppress(ProcessLookupError):
            before.write_text(str(pid))
        group.rmdir()


def _group_with_quota(share: float) -> Path | None:
    """A new control group, of either version; None where we may not make one."""
    quota, period = round(share * PERIOD_S * US), round(PERIOD_S * US)
    name = f"kvchaos-test-{os.getpid()}"
    old = CGROUPS / "cpu"
    group = (old if old.is_dir() else CGROUPS) / name
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        if old.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(period))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {period}")
    except OSError:
        group.rmdir()
        return None
    return group


@contextmanager
def _by_signals(pid: int, share: float) -> Iterator[None]:
    """Give a process only a share of the processor time by SIGSTOP and SIGCONT."""
    over = threading.Event()

    def pace() -> None:
        with suppress(ProcessLookupError):
            while not over.is_set():
                os.kill(pid, signal.SIGSTOP)
                over.wait((1 - share) * PERIOD_S)
                os.kill(pid, signal.SIGCONT)
                over.wait(share * PERIOD_S)

    pacer = threading.Thread(target=pace)
    pacer.start()
    try:
        yield
    finally:
        over.set()
        pacer.join()
