"""The incarnations of the server during a run: starts, stops, restarts, and their events."""

from __future__ import annotations

import time

import msgspec

from history.events import ServerExit, ServerNotReady, ServerReady
from history.protocol.outside import Serves
from kvchaos.conductor import server_state
from kvchaos.conductor.event_log import EventLog
from kvchaos.conductor.prober import Prober
from kvchaos.stacks.server_files import ServerFiles
from kvchaos.stacks.stack import Stack


class ServerLifecycle:
    """Starts incarnations and records their ends. Raises OSError when an event cannot be written."""

    def __init__(
        self, stack: Stack, base_url: str, files: ServerFiles, events: EventLog, prober: Prober
    ) -> None:
        self._stack = stack
        self._base_url = base_url
        self._files = files
        self._events = events
        self._prober = prober
        self._pid: int | None = None
        """Process id of the last incarnation's leader; one that has ended does not report it any more."""
        self._started_at = 0.0
        self._serves = False
        self._exit_recorded = True
        self.count = 0
        """Incarnations in this run."""

    def start(self) -> None:
        """Start the server. Raises UsageError when that cannot be done."""
        lines = self._before_start()
        self._stack.start()
        self._record_start(lines, kept=False)

    def adopt(self) -> None:
        """Take the server that an earlier run has left up: its incarnation in this run begins now."""
        self._record_start(self._before_start(), kept=True)

    def _before_start(self) -> int:
        """Count the next incarnation. Returns how many lines the log has before it."""
        lines = self.log_line()
        self.count += 1
        self._started_at, self._serves = time.monotonic(), False
        return lines

    def _record_start(self, lines: int, *, kept: bool) -> None:
        self._exit_recorded = False
        identity = self._stack.identity()
        self._pid = identity.pid
        self._events.write(msgspec.structs.replace(identity, log_line=lines, kept=kept))

    def wait_ready(self, deadline_s: float) -> None:
        """Raises ServerStartFailed when it does not serve in time."""
        self._stack.wait_ready(deadline_s)
        self._record_ready()

    def record_exit(self) -> None:
        """Record the exit of the server, once, if it has ended."""
        code = self._stack.exit_code()
        if code is not None and not self._exit_recorded:
            self._exit_recorded = True
            self._events.write(ServerExit(code=code, pid=self._pid))

    def restart(self) -> None:
        """Start the next incarnation after a planned end, without waiting until it serves."""
        self.record_exit()
        self.start()

    def ready(self) -> Serves | None:
        """What shows that the server serves; None as long as it does not, or has died again."""
        if not self._serves:
            self._stack.observe()
            self.record_exit()
            if not self._stack.alive() or server_state.health(self._base_url) != 200:
                return None
            self._record_ready()
        return Serves(pid=self._pid, ready_s=round(time.monotonic() - self._started_at, 3))

    def exited_before_ready(self) -> bool:
        """Whether the last incarnation ended before it served."""
        return self._started_at > 0 and not self._serves and self._stack.exit_code() is not None

    def record_not_ready(self) -> None:
        """Record that a restarted server does not serve in time."""
        seconds = round(time.monotonic() - self._started_at, 3)
        self._events.write(ServerNotReady(seconds=seconds, alive=self._stack.alive()))

    def probe(self, where: str) -> None:
        """Send a probe and record its result; `where` names the moment."""
        self._prober.probe(where)

    def log_line(self) -> int:
        """Number of lines of the server's log."""
        return self._files.log_lines()

    def _record_ready(self) -> None:
        self._serves = True
        self._events.write(ServerReady(seconds=round(time.monotonic() - self._started_at, 3)))
