"""The conductor's client of the proxy: sends commands, and reads the reports from a file."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from chaos.outside.network.proxy_messages import ProxyCommand, ProxyEvent, ProxyReport

POLL_INTERVAL_S = 0.02


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

    def wait_port(self, timeout_s: float) -> int:
        """The port that it listens on. Raises ProxyFailed when it has none in time."""
        deadline = time.monotonic() + timeout_s
        while (report := self.report("listens", None)) is None:
            if time.monotonic() > deadline:
                raise ProxyFailed(f"it does not listen after {timeout_s:g} s")
            time.sleep(POLL_INTERVAL_S)
        assert report.port is not None
        return report.port

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
