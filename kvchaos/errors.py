"""What ends a command early: an error with one line, or a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class UsageError(Exception):
    """Bad input or a bad environment. The message says what, where, and what to do; exit code 3."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal requested a stop. No guard around code of a library or of another package may keep it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"interrupted by {name}")
        self.signal = name


class Interrupts:
    """Whether a signal has come. Further ones are swallowed while the first is being obeyed."""

    def __init__(self) -> None:
        self.came: str | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise Interrupted for the first signal; ignore further ones."""
        if self.came is None:
            self.came = signal.Signals(number).name
            raise Interrupted(self.came)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Turn the signals into Interrupted, in the main thread, for the length of the block."""
    handler = Interrupts()
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
