"""Faults that a server ends of: killed, stopped, left without its engine. Undone when it serves again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from chaos.outside.injector import Hold, NotThere, Strike
from history.protocol.outside import Ended, Serves


class Target(Protocol):
    """A server that can be ended, wherever it runs."""

    def runs(self) -> bool:
        """Whether anything of it runs, and is proved to be ours."""
        ...

    def identity(self) -> Ended:
        """What names this life of it: `pid`, as in the event of its start, and the processes that it has."""
        ...

    def send(self, which: signal.Signals) -> None:
        """SIGKILL to all of it, any other signal to its leader. To nobody when it is gone."""
        ...

    def kill_engine(self) -> Sequence[int]:
        """SIGKILL to its engine alone; its processes. Raises Refused when none can be found."""
        ...

    def engine_gone(self) -> bool:
        """Whether the engine that was killed has ended."""
        ...

    def ended(self) -> int | None:
        """The exit code of its leader when all of it has ended; None before."""
        ...


class Lives(Protocol):
    """What the conductor does for a server that a fault has ended."""

    def log_line(self) -> int:
        """How many lines the server's log has now."""
        ...

    def probe(self, where: str) -> None:
        """Send a probe, check /health, and record both in the history."""
        ...

    def restart(self) -> None:
        """Record the end of an incarnation, and start the next one."""
        ...

    def ready(self) -> Serves | None:
        """What shows that the server serves again; None as long as it does not."""
        ...


class Ending:
    """What all of them share: what was ended, and how it comes back."""

    def __init__(self, strike: Strike, target: Target, lives: Lives) -> None:
        self._strike = strike
        self._target = target
        self._lives = lives
        self._before = Ended()
        self._struck = 0.0
        self._end: Ended | None = None
        self._lifting = False
        self._renewed = False

    def lift(self) -> None:
        """What is dead needs nothing undone; a further life is begun only as long as `lifted` is asked."""
        self._lifting = True

    def lifted(self) -> Serves | None:
        if not self._renewed:
            if self._ended() is None:
                return None
            self._renewed = True
            self._lives.restart()
        return self._lives.ready()

    def _begin(self) -> None:
        if not self._target.runs():
            raise NotThere("the server does not run")
        self._before = replace(self._target.identity(), log_line=self._lives.log_line())
        self._struck = time.monotonic()

    def _ended(self) -> Ended | None:
        """What shows that this life has ended, kept since another one may follow."""
        if self._end is None and (code := self._target.ended()) is not None:
            seconds = round(time.monotonic() - self._struck, 3)
            self._end = replace(self._before, code=code, seconds=seconds)
        return self._end


class Kill(Ending):
    """SIGKILL to all of the server."""

    def strike(self) -> None:
        self._begin()
        self._target.send(signal.SIGKILL)

    def proof(self) -> Ended | None:
        """All of it has ended."""
        ended = self._ended()
        return None if ended is None else replace(ended, signal="SIGKILL")


class Stop(Ending):
    """SIGTERM, and SIGKILL to what has not ended by then."""

    def __init__(self, strike: Strike, target: Target, lives: Lives) -> None:
        super().__init__(strike, target, lives)
        self._forced = False

    def strike(self) -> None:
        self._begin()
        self._target.send(signal.SIGTERM)

    def proof(self) -> Ended | None:
        """All of it has ended."""
        self._lose_patience()
        ended = self._ended()
        return None if ended is None else replace(ended, signal="SIGTERM", forced=self._forced)

    def _lose_patience(self) -> None:
        patience_s = float(self._strike.params["grace_s"])
        if self._end is None and time.monotonic() - self._struck > patience_s and self._target.runs():
            self._forced = True
            self._target.send(signal.SIGKILL)


class EngineKill(Ending):
    """SIGKILL to the engine; what becomes of the rest is the server's own affair until this is undone."""

    def __init__(self, strike: Strike, target: Target, lives: Lives) -> None:
        super().__init__(strike, target, lives)
        self._asked = False
        self._alone_s: float | None = None

    def strike(self) -> None:
        self._begin()
        self._before = replace(self._before, engines=list(self._target.kill_engine()))

    def proof(self) -> Ended | None:
        """The engine has ended."""
        return replace(self._before, signal="SIGKILL") if self._target.engine_gone() else None

    def lifted(self) -> Serves | None:
        """A server that lives on without its engine for all of the time is asked how it does, and ended."""
        seconds = time.monotonic() - self._struck
        if self._alone_s is None and self._ended() is not None:
            self._alone_s = seconds
        if self._alone_s is None and seconds < float(self._strike.params["for_s"]):
            return None
        if self._alone_s is None and not self._asked:
            self._asked = True
            self._lives.probe(f"without its engine ({self._strike.fault})")
            self._target.send(signal.SIGKILL)
        undone = super().lifted()
        if undone is None or self._alone_s is None:
            return None
        return replace(undone, outlived_its_engine=self._asked, alone_s=round(self._alone_s, 3))


ENDINGS: dict[str, Callable[[Strike, Target, Lives], Hold]] = {
    "kill": Kill,
    "stop": Stop,
    "engine_kill": EngineKill,
}
