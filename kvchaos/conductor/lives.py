"""The lives of the server in a run: each begins, is noted, ends, and may be followed by another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from history.events import ServerExit, ServerNotReady, ServerReady
from history.protocol.outside import Serves
from kvchaos.conductor import server_state
from kvchaos.conductor.events import EventLog
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import Stack

Ask = Callable[[str], None]


class Lives:
    """Begins the server's lives and notes their ends. OSError when it cannot be noted."""

    def __init__(self, stack: Stack, base_url: str, files: ServerFiles, events: EventLog, ask: Ask) -> None:
        self._stack = stack
        self._base_url = base_url
        self._files = files
        self._events = events
        self._ask = ask
        self._pid: int | None = None
        """Of the leader of the last life: one that has ended does not tell it any more."""
        self._began = 0.0
        self._serves = False
        self._end_told = True
        self.count = 0
        """Of lives in this run."""

    def begin(self) -> None:
        """Start the server. Raises UsageError when that cannot be done."""
        self._begin_life(self._stack.start, kept=False)

    def take_over(self) -> None:
        """The server that an earlier run has left up: its life in this run begins now."""
        self._begin_life(lambda: None, kept=True)

    def _begin_life(self, start: Callable[[], None], *, kept: bool) -> None:
        lines = self.log_line()
        self.count += 1
        self._began, self._serves = time.monotonic(), False
        start()
        self._end_told = False
        identity = self._stack.identity()
        self._pid = identity.pid
        self._events.write(msgspec.structs.replace(identity, log_line=lines, kept=kept))

    def wait_ready(self, deadline_s: float) -> None:
        """Raises ServerNotReady when it does not serve in time."""
        self._stack.wait_ready(deadline_s)
        self._note_ready()

    def note_end(self) -> None:
        """Write down that the server has ended, if it has, and if nobody did yet."""
        code = self._stack.exit_code()
        if code is not None and not self._end_told:
            self._end_told = True
            self._events.write(ServerExit(code=code, pid=self._pid))

    def renew(self) -> None:
        """After an end that was on purpose: the next life, without waiting until it serves."""
        self.note_end()
        self.begin()

    def ready(self) -> Serves | None:
        """What shows that the server serves; None as long as it does not, or has died again."""
        if not self._serves:
            self._stack.observe()
            self.note_end()
            if not self._stack.alive() or server_state.health(self._base_url) != 200:
                return None
            self._note_ready()
        return Serves(pid=self._pid, ready_s=round(time.monotonic() - self._began, 3))

    def died_young(self) -> bool:
        """Whether the last life ended before it served."""
        return self._began > 0 and not self._serves and self._stack.exit_code() is not None

    def note_never_ready(self) -> None:
        """Write down that a life which was to follow another one does not serve in time."""
        seconds = round(time.monotonic() - self._began, 3)
        self._events.write(ServerNotReady(seconds=seconds, alive=self._stack.alive()))

    def ask(self, where: str) -> None:
        self._ask(where)

    def log_line(self) -> int:
        return self._files.log_lines()

    def _note_ready(self) -> None:
        self._serves = True
        self._events.write(ServerReady(seconds=round(time.monotonic() - self._began, 3)))
