"""How the conductor controls the proxy: the messages of both, and the conductor's client.

Commands are JSON lines on the proxy's stdin, reports are JSON lines in a file. The end of stdin means that
the conductor is gone.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal

import msgspec

from history.protocol.outside import BytesDelayed, NetworkCut, SlowRead
from history.records import Record, Time


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do"):
    """`strike` identifies the injection."""

    strike: str


class CutCommand(_Command, frozen=True, tag="cut"):
    """Reset all connections; reset new ones as they come."""


class StallCommand(_Command, frozen=True, tag="stall"):
    """Let nothing pass."""


class DelayCommand(_Command, frozen=True, tag="delay"):
    """Delay every chunk, in each direction, by so many milliseconds."""

    seed: int
    up_ms: float
    down_ms: float
    jitter_ms: float
    """At most so much more, by lot, for each piece."""


class LoseCommand(_Command, frozen=True, tag="lose"):
    """Lose a fraction of the chunks, each sent again later."""

    seed: int
    share: float
    again_ms: float
    """Until a piece that was lost is sent again; twice as long each further time."""


class ReadSlowlyCommand(_Command, frozen=True, tag="read_slowly"):
    """Read the answers to some requests at a low rate."""

    requests: int
    """So many, from the next that begins."""
    bytes_per_s: float


class RevertCommand(_Command, frozen=True, tag="lift"):
    """End an injection. No-op when it is not active."""


ProxyCommand = CutCommand | StallCommand | DelayCommand | LoseCommand | ReadSlowlyCommand | RevertCommand


ProxyEffect = NetworkCut | BytesDelayed | SlowRead
ProxyEvent = Literal["listens", "struck", "undone"]
"""struck: an injection took effect. undone: it is over, and its evidence is complete."""


class ProxyReport(Record, frozen=True, kw_only=True):
    """One line of the proxy's file."""

    t_ns: Time
    mono_ns: Time
    event: ProxyEvent
    strike: str | None
    port: int | None = None
    """listens: where."""
    cut: NetworkCut | None = None
    """struck, undone: the effect so far; exactly one of these, by kind."""
    delayed: BytesDelayed | None = None
    slow: SlowRead | None = None

    @property
    def effect(self) -> ProxyEffect | None:
        """What an injection has done so far; None for a report without one."""
        return self.cut or self.delayed or self.slow


def report(event: ProxyEvent, strike: str, effect: ProxyEffect, t_ns: int, mono_ns: int) -> ProxyReport:
    """The report of an injection."""
    match effect:
        case NetworkCut():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, cut=effect)
        case BytesDelayed():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, delayed=effect)
        case SlowRead():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, slow=effect)


class ProxyFailed(OSError):
    """The proxy does not run or respond."""


def proxy_command(server_port: int, reports: Path) -> tuple[str, ...]:
    """The command line of the proxy for a server on this machine. Its stdin takes the commands."""
    server = f"127.0.0.1:{server_port}"
    return (
        sys.executable,
        "-m",
        "chaos.outside.network",
        "--server",
        server,
        "--reports",
        str(reports.resolve()),
    )


class ProxyClient:
    """Call from one thread."""

    def __init__(self, stdin: IO[bytes], reports: Path) -> None:
        self._stdin = stdin
        self._path = reports
        self._offset = 0
        """Bytes of the reports that have been read."""
        self._decoder = msgspec.json.Decoder(ProxyReport)
        self._reports: list[ProxyReport] = []

    def port(self) -> int | None:
        """The port that it listens on; None as long as it does not listen."""
        report = self.report("listens", None)
        return None if report is None else report.port

    def send(self, command: ProxyCommand) -> None:
        """Raises ProxyFailed when it has ended."""
        try:
            self._stdin.write(msgspec.json.encode(command) + b"\n")
            self._stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise ProxyFailed("it takes no command any more") from error

    def report(self, event: ProxyEvent, strike: str | None) -> ProxyReport | None:
        """Its report of an injection; None until there is one."""
        self._read()
        return next((each for each in self._reports if (each.event, each.strike) == (event, strike)), None)

    def close(self) -> None:
        """Close its stdin, which ends it."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._reports.append(self._decoder.decode(line))
