"""The mock server for its callers: its settings, a child process, and the log of what it sent."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from types import TracebackType
from typing import Annotated, Literal, Self

import msgspec

from history.records import Record, Time, Whole
from loadtests.child_process import start_with_stdin, wait_or_kill

END_S = 10.0


Ms = Annotated[float, msgspec.Meta(ge=0, le=3_600_000)]
Above = Annotated[float, msgspec.Meta(gt=0, le=3_600_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

End = Literal[
    "whole",
    "pause",  # nothing for `pause_ms` in the middle, then the rest, whole
    "http_error",  # status 500 in place of an answer
    "error_event",  # an error object in a stream with status 200
    "cut",  # the connection is closed in mid-stream
    "truncated",  # the stream ends tidily, without finish reason and usage
    "hang",  # nothing more, and the connection stays open
]
COMPLETE: tuple[End, ...] = ("whole", "pause")
"""Ends at which the client has got all that it asked for."""


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """A distribution of times, ms."""


class Fixed(Times, frozen=True, kw_only=True, tag="fixed"):
    """The same time for each."""

    ms: Ms

    def at(self, share: float) -> float:
        """Always `ms`."""
        return self.ms


class Uniform(Times, frozen=True, kw_only=True, tag="uniform"):
    """Times between two bounds, all equally likely."""

    low_ms: Ms
    high_ms: Ms

    def __post_init__(self) -> None:
        if self.high_ms < self.low_ms:
            raise ValueError("high_ms is below low_ms")

    def at(self, share: float) -> float:
        """The time at a quantile from 0 to 1, ms."""
        return self.low_ms + share * (self.high_ms - self.low_ms)


class Exponential(Times, frozen=True, kw_only=True, tag="exponential"):
    """Times of an exponential distribution."""

    mean_ms: Ms

    def at(self, share: float) -> float:
        """The time at a quantile from 0 to 1, ms."""
        return -self.mean_ms * math.log1p(-share)


class Lognormal(Times, frozen=True, kw_only=True, tag="lognormal"):
    """Times of a lognormal distribution."""

    median_ms: Ms
    sigma: Annotated[float, msgspec.Meta(ge=0, le=5)]

    def at(self, share: float) -> float:
        """The time at a quantile from 0 to 1, ms."""
        return self.median_ms * math.exp(self.sigma * NormalDist().inv_cdf(share)) if share else 0.0


Distribution = Fixed | Uniform | Exponential | Lognormal
"""`at` gives the time below which this share of all lies; the share is in [0, 1)."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is drawn comes from the seed and the id of the request, so order and load change nothing."""

    seed: int = 0
    model: str = "mock"
    """The name it tells when asked for its models; any name is answered."""
    ttft: Distribution = Fixed(ms=20.0)
    """Time from the arrival of a request to its first token."""
    itl: Distribution = Fixed(ms=10.0)
    """Time from one event to the next."""
    tokens_per_event: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    ends: dict[End, Share] = {}
    """Shares of requests that end so; the rest is whole."""
    pause_ms: Above = 1000.0

    def __post_init__(self) -> None:
        if sum(self.ends.values()) > 1 + 1e-9:
            raise ValueError("the shares in ends add up to more than 1")


class SentRecord(Record, frozen=True, kw_only=True):
    """Written once, when the answer ended. All times are the host's monotonic clock, ns.

    `sent_ns` is read just before the bytes are handed to the kernel, so no client can have them earlier.
    """

    id: str
    """The request's X-Request-Id; a number of the server's own where it had none."""
    connection: Whole
    """Which of the server's connections, counted from 0."""
    prompt_tokens: Whole
    received_ns: Time
    """When the whole request was there."""
    due_ns: list[Time]
    """When each event with tokens was to be sent, by the schedule."""
    sent_ns: list[Time]
    """When each event with tokens was sent, of several choices one after the other."""
    event_tokens: list[Whole]
    end: End
    end_ns: Time
    left: bool
    """The client was gone before the end, or the server was stopped."""
    blocked: Whole
    """How often the kernel did not take all at once: the client did not keep up with reading."""


def read_sent(path: Path) -> dict[str, SentRecord]:
    """The log of a mock server by request id. Raises OSError, or ValueError for a bad line or an id twice."""
    decoder = msgspec.json.Decoder(SentRecord)
    found: dict[str, SentRecord] = {}
    for line in path.read_bytes().splitlines():
        record = decoder.decode(line)
        if record.id in found:
            raise ValueError(f"{path.name}: request {record.id} occurs twice")
        found[record.id] = record
    return found


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
        """Prepare a server.

        `shared_port`: a port at which several servers listen, each with some of the connections. 0 chooses
        one that the others can use.
        """
        self._settings = settings
        self._log = log
        self._shared_port = shared_port

    @property
    def url(self) -> str:
        """Its address, such as `http://127.0.0.1:40123`."""
        return self._started.url

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def sent(self) -> dict[str, SentRecord]:
        """What it has logged so far, by request id."""
        return read_sent(self._log)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "loadtests.mock", "--until-stdin-ends", "--log", str(self._log)]
        command += ["--settings", msgspec.json.encode(self._settings).decode()]
        if self._shared_port is not None:
            command += ["--share-port", "--port", str(self._shared_port)]
        self._process = start_with_stdin(command, stdout=subprocess.PIPE)
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
        wait_or_kill(self._process, END_S)
        self._process.stdout.close()
