"""Files under /dev/shm that processes of ours use and leave behind when they are killed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from kvchaos.stacks.process_group import PROC

SHM = Path("/dev/shm")
STAT_BLOCK_BYTES = 512
"""Unit of st_blocks, whatever the file system."""
OPENMP_NAME = "__KMP_REGISTERED_LIB_{pid}_*"
"""libiomp registers every process so, and keeps no mapping that would show it."""


class ShmFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, order=True):
    """One file, known by its inode: a later file of the same name is another one."""

    path: str
    inode: int


def inodes(shm: Path = SHM) -> list[int]:
    """Inodes of all files there are, to tell later which are older than our processes."""
    return sorted(entry.inode for entry in _identified(shm.iterdir()))


def files_of(pids: Iterable[int], proc: Path = PROC, shm: Path = SHM) -> set[ShmFile]:
    """Files that these processes have mapped or open, or that libiomp made for them."""
    used: set[int] = set()
    registered: set[Path] = set()
    for pid in pids:
        used.update(_mapped(proc / str(pid) / "maps", shm))
        used.update(_open(proc / str(pid) / "fd", shm))
        registered.update(shm.glob(OPENMP_NAME.format(pid=pid)))
    there = _identified(shm.iterdir())
    return {file for file in there if file.inode in used or Path(file.path) in registered}


def bytes_of(files: Iterable[ShmFile]) -> int:
    """Memory that those of them take that are still there."""
    return sum(_allocated(file) for file in files)


def remove(files: Iterable[ShmFile]) -> list[str]:
    """Remove those that are still there, and return their paths."""
    removed = []
    for file in files:
        if file in set(_identified([Path(file.path)])):
            Path(file.path).unlink(missing_ok=True)
            removed.append(file.path)
    return removed


def _allocated(file: ShmFile) -> int:
    try:
        status = Path(file.path).lstat()
    except FileNotFoundError:
        return 0
    return status.st_blocks * STAT_BLOCK_BYTES if status.st_ino == file.inode else 0


def _identified(paths: Iterable[Path]) -> Iterator[ShmFile]:
    for path in paths:
        try:
            yield ShmFile(path=str(path), inode=path.lstat().st_ino)
        except FileNotFoundError:
            continue


def _mapped(maps: Path, shm: Path) -> Iterator[int]:
    """Inodes. The names in this list mislead: a semaphore stands there under the one it was made with."""
    try:
        content = maps.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    under_shm = b" " + os.fsencode(shm) + b"/"
    if under_shm in content:
        for line in content.splitlines():
            if under_shm in line:
                yield int(line.split(maxsplit=5)[4])


def _open(descriptors: Path, shm: Path) -> Iterator[int]:
    """Inodes."""
    try:
        entries = list(descriptors.iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    for entry in entries:
        try:
            if entry.readlink().is_relative_to(shm):
                yield entry.stat().st_ino
        except (FileNotFoundError, ProcessLookupError):
            continue
