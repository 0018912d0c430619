"""Stored runs of real servers, packed under tests/data."""

from __future__ import annotations

import tarfile
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
SUFFIX = ".tar.xz"


def unpack(archive: Path, folder: Path) -> Path:
    """The run directory, unpacked into a folder. The archives are our own."""
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "data_filter"):
            packed.extractall(folder, filter="data")
        else:  # Python before 3.11.4, as in Debian 12.
            packed.extractall(folder)
    return folder / archive.name.removesuffix(SUFFIX)
