"""Folders for measurements. Success removes a folder; failure leaves its logs until the next measurement."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = ".log"


class LogFolder:
    """One for each command that measures; a message may name a log in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def empty(self) -> None:
        """Remove what failed measurements left; folders that one at work uses stay. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in self.path.iterdir():
            if folder.is_dir() and all(path.suffix == LOG for path in folder.iterdir()):
                shutil.rmtree(folder)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder for one measurement. Records can be large: after a failure only the logs stay."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))
        succeeded = False
        try:
            yield folder
            succeeded = True
        finally:
            if succeeded:
                shutil.rmtree(folder)
            else:
                _keep_logs(folder)


def _keep_logs(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != LOG or not path.stat().st_size:
            path.unlink()
