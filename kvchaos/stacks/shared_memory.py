"""Files under /dev/shm that processes of ours use and leave behind when they are killed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from kvchaos.stacks.process_group import GONE, PROC

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
    """Files of this user that these processes have mapped or open, or that libiomp made for them.

    A process that ends meanwhile has no files.
    """
    used: set[int] = set()
    registered: set[Path] = set()
    for pid in pids:
        used.update(_mapped(proc / str(pid) / "maps", shm))
        used.update(_open(proc / str(pid) / "fd", shm))
        registered.update(shm.glob(OPENMP_NAME.format(pid=pid)))
    there = _identified(path for path in shm.iterdir() if _is_of_this_user(path))
    return {file for file in there if file.inode in used or Path(file.path) in registered}


def bytes_of(files: Iterable[ShmFile]) -> int:
    """Memory that those of them take that are still there."""
    return sum(_allocated(file) for file in files)


def remove(files: Iterable[ShmFile], proc: Path = PROC) -> list[str]:
    """Remove those that are still there and that no process uses any more, and return their paths.

    What a living process uses is not ours alone, although a process of ours had it mapped.
    """
    there = [file for file in files if file in set(_identified([Path(file.path)]))]
    if not there:
        return []
    used = _used_by_anyone(proc)
    removed = []
    for file in there:
        if file.inode not in used and _is_of_this_user(Path(file.path)):
            Path(file.path).unlink(missing_ok=True)
            removed.append(file.path)
    return removed


def _used_by_anyone(proc: Path) -> set[int]:
    """Inodes that processes have mapped or open, as far as we may look into them."""
    used: set[int] = set()
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            used.update(_mapped(entry / "maps", SHM))
            used.update(_open(entry / "fd", SHM))
    return used


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


def _is_of_this_user(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _mapped(maps: Path, shm: Path) -> Iterator[int]:
    """Inodes. The names in this list mislead: a semaphore stands there under the one it was made with."""
    try:
        content = maps.read_bytes()
    except GONE:
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
    except GONE:
        return
    for entry in entries:
        try:
            if entry.readlink().is_relative_to(shm):
                yield entry.stat().st_ino
        except GONE:
            continue
