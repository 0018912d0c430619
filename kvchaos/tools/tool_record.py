"""The record of a program in the cache: its source, its versions and its size."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from history.strict_yaml import Strict
from kvchaos.tools.tool import PROGRAMS, RECORD, Tool

MB = 1_000_000


class PackageRecord(Strict):
    """A package that was unpacked; `size` of its archive in bytes."""

    name: str
    version: str
    size: int
    sha256: str
    """Of the archive, as the signed lists of packages state it and apt checked it."""


class ToolRecord(Strict):
    """Written into the folder of the program."""

    tool: str
    version: str
    source: Literal["apt", "Playwright"]
    unpacked: int
    """Bytes on disk."""
    packages: tuple[PackageRecord, ...] = ()
    """Empty for a download of Playwright's, which has neither signature nor checksum."""

    def summary(self) -> str:
        """Version and sizes, as one phrase."""
        size = f"{self.unpacked / MB:.0f} MB on disk"
        if self.packages:
            download = sum(one.size for one in self.packages) / MB
            size = f"{len(self.packages)} packages, {download:.0f} MB downloaded, {size}"
        return f"{self.version} from {self.source}, {size}"


def read_record(folder: Path, tool: Tool) -> ToolRecord | None:
    """The record in the folder of a program; None when it is missing or broken, or a program is missing."""
    try:
        record = ToolRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if (folder / PROGRAMS / tool.name).is_file() else None


def write_record(folder: Path, record: ToolRecord) -> None:
    """Raises OSError."""
    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
