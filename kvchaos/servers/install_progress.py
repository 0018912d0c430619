"""Shows the progress of an installation: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class InstallProgress(Protocol):
    """Receives the steps of an installation and the output of each."""

    def step(self, text: str) -> None:
        """A new step begins."""

    def detail(self, text: str) -> None:
        """A line of output of the current step."""


class SilentProgress:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Not shown."""

    def detail(self, text: str) -> None:
        """Not shown."""


class PlainProgress:
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        self._print(text)

    def detail(self, text: str) -> None:
        # uv lists every package it installed, more than a hundred; the log has them.
        if not text.startswith(" + "):
            self._print(f"  {text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress:
    """One line that changes in place."""

    def __init__(self, status: Status, width: int) -> None:
        self._status = status
        self._width = width
        self._step = ""

    def step(self, text: str) -> None:
        self._step = text
        self._status.update(escape(text))

    def detail(self, text: str) -> None:
        line = f"{self._step}: {text}"[: self._width]
        self._status.update(escape(line))


@contextmanager
def shown(console: Console) -> Iterator[InstallProgress]:
    """Progress that suits the console."""
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    with console.status("") as status:
        yield LiveProgress(status, max(20, console.width - 4))
