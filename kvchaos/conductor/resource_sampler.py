"""Samples the usage of the server's processes about once a second and at every idle moment."""

from __future__ import annotations

import time
from pathlib import Path

from history import layout
from history.jsonl import LineWriter
from kvchaos.stacks.stack import Stack

EVERY_S = 1.0


class ResourceSampler:
    """Samples a server that runs. Raises OSError when a line cannot be written."""

    def __init__(self, stack: Stack, run_dir: Path) -> None:
        self._stack = stack
        self._writer = LineWriter(run_dir / layout.RESOURCES)
        self._sampled_at = 0.0

    def sample_if_due(self) -> None:
        """Sample when the last sample is a second old. Nothing is written of a server that does not run."""
        if time.monotonic() - self._sampled_at >= EVERY_S:
            self._sample()

    def sample_now(self) -> None:
        """Sample whatever there is now, shared memory that was made just before included."""
        self._stack.observe()
        self._sample()

    def _sample(self) -> None:
        self._sampled_at = time.monotonic()
        record = self._stack.resources()
        if record is not None:
            self._writer.write(record)

    def close(self) -> None:
        self._writer.close()
