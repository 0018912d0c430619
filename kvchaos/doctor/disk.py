"""Space: for servers, for runs, for temporary files and for shared memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kvchaos import paths
from kvchaos.doctor.check import GIB, MIB, Check, CheckState

SHM = Path("/dev/shm")
SHM_WANTED = 256 * MIB
"""A server of 0.32.0 maps 168 MB there."""
TMP_LEAST, TMP_WANTED = 32 * MIB, 512 * MIB


def examine(cache: Path, runs: Path) -> Iterator[Check]:
    yield check_shm(_free(SHM) if SHM.is_dir() else None)
    tmp = _temporary()
    yield check_tmp(tmp, None if tmp is None else _free(tmp))
    yield check_disk("disk for servers", cache, _free(cache), least=GIB, wanted=10 * GIB)
    yield check_disk("disk for runs", runs, _free(runs), least=GIB // 4, wanted=GIB)


def check_shm(free: int | None) -> Check:
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
