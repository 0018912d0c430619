"""Live progress: a line that renews itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from loadtests.messages import Progress

PLAIN_EVERY_S = 5.0


class Display:
    """Tells the user what is going on. Use as a context manager around a run."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._status: Status | None = None
        self._plain_at = 0.0
        self._tokens = 0
        self._tokens_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status(self._title)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, what: str) -> None:
        """A step begins."""
        self._tokens, self._tokens_at, self._plain_at = 0, time.monotonic(), 0.0
        self._show(what)
        if self._status is None:
            self._print(what)

    def phase(self, progress: Progress, planned: int, fired: int | None) -> None:
        """Where a phase stands; `fired` counts the faults so far, None in a phase without faults."""
        now = time.monotonic()
        text = self._text(progress, planned, fired, now)
        self._show(text)
        if self._status is None and now >= self._plain_at:
            self._plain_at = now + PLAIN_EVERY_S
            self._print(text)

    def phase_end(self, progress: Progress, planned: int, fired: int | None) -> None:
        """The last figures of a phase, kept on the screen."""
        self._print(self._text(progress, planned, fired, time.monotonic()))

    def _text(self, progress: Progress, planned: int, fired: int | None, now: float) -> str:
        rate = progress.tokens / max(now - self._tokens_at, 1e-3)
        done = progress.ok + progress.failed
        text = f"{progress.phase}: {done} of {planned} done, {progress.failed} failed, {rate:.0f} tokens/s"
        return text if fired is None else f"{text}, faults fired {fired}"

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{self._title}: {text}")

    def _print(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)
