"""The mock server as a child of this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from loadtests.mock.send_log import SentRecord, read_sent
from loadtests.mock.settings import Settings

HOME = Path(__file__).resolve().parents[2]
"""Where the packages lie."""
END_S = 10.0


class MockFailed(Exception):
    """The mock server did not start."""


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line that it prints when it is ready."""

    url: str


_starts = msgspec.json.Decoder(Started)


class MockServer:
    """`with MockServer(settings, log) as server: server.url`. Raises MockFailed, OSError.

    It leaves with this process, however that ends. Its log is whole when the block is left.
    """

    def __init__(self, settings: Settings, log: Path, shared_port: int | None = None) -> None:
        """`shared_port`: one that several servers listen at, each taking some of the connections; 0 chooses
        one that others can be told."""
        self._settings = settings
        self._log = log
        self._shared_port = shared_port

    @property
    def url(self) -> str:
        return self._started.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self._process.pid

    def sent(self) -> dict[str, SentRecord]:
        """What it has logged so far, by request id."""
        return read_sent(self._log)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "loadtests.mock", "--until-stdin-ends", "--log", str(self._log)]
        command += ["--settings", msgspec.json.encode(self._settings).decode()]
        if self._shared_port is not None:
            command += ["--share-port", "--port", str(self._shared_port)]
        # Of the same session as the load, so that the kernel's autogroups do not set them against each other.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HOME, process_group=0
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            self._started = _starts.decode(line)
        except msgspec.MsgspecError as error:
            self._end()
            raise MockFailed(f"the mock server did not start; it said {line!r}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
