"""Samples the GPUs of this machine while a run lasts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from history import layout
from history.jsonl import LineWriter
from history.records import GpuRecord

PERIOD_S = 1.0


class Gpus(Protocol):
    """The GPUs of a machine."""

    def read(self) -> list[GpuRecord]:
        """One record for each GPU."""

    def close(self) -> None:
        """End the use of the driver."""


class GpuSampler:
    """Writes a line for each GPU every second, on a thread of its own: reading the bus takes 20 ms a card."""

    def __init__(self, gpus: Gpus, run_dir: Path) -> None:
        """Raises OSError when the file cannot be written."""
        self._gpus = gpus
        self._writer = LineWriter(run_dir / layout.GPUS)
        self._closing = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._sample, name="kvchaos-gpus", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take a last sample, and end. Raises OSError when a line could not be written."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        self._writer.close()
        self._gpus.close()
        if self._error is not None:
            raise self._error

    def _sample(self) -> None:
        try:
            while True:
                last = self._closing.is_set()
                for card in self._gpus.read():
                    self._writer.write(card)
                if last:
                    return
                self._closing.wait(PERIOD_S)
        except OSError as error:
            self._error = error
