"""The messages of master and joined workers, sent over Locust's own channel beside Locust's messages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

MESSAGE_TYPE = "kvchaos"
"""The Locust message type of all these messages."""
ROOMS = ("history", "loadtests")
"""The packages that decide what a worker sends and records."""


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="join"):
    """A worker requests to join the run."""

    host: str
    pid: int
    code: str
    """See `code_fingerprint`."""


class Assigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="seat"):
    """The worker's number, the number of workers, and the run.yaml of the run."""

    worker: int
    of: int
    plan: str


class RunFull(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="no-seat"):
    """The run needs no more workers."""

    why: str


class VersionMismatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unfit"):
    """The worker's code differs from the master's."""

    why: str


class TimeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask-time"):
    """Worker to master: a request for its time, with the worker's own."""

    sent_wall_ns: int
    sent_mono_ns: int


class TimeResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="time"):
    """The master's clocks, with the times of the request."""

    sent_wall_ns: int
    sent_mono_ns: int
    master_wall_ns: int
    master_mono_ns: int


class FileRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask-file"):
    """Requests a chunk of a file that a workload of the plan names."""

    workload: str
    offset: int


class FileChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="piece"):
    """A chunk of the requested file; empty at its end."""

    content: bytes


class ForwardedCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="order"):
    """A command for the worker, as JSON (loadtests.messages.Command)."""

    command: bytes


class ForwardedReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="said"):
    """A report of the worker, as JSON (loadtests.messages.Report)."""

    report: bytes


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="records"):
    """Requests that have ended, as lines of JSON."""

    count: int
    lines: bytes


class Shutdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="leave"):
    """The worker sends nothing more."""

    records: int
    """How many it sent in the run."""


class Goodbye(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="farewell"):
    """The master has received everything; the worker may disconnect."""


FromWorker = Join | TimeRequest | FileRequest | ForwardedReport | Records | Shutdown
FromMaster = Assigned | RunFull | VersionMismatch | TimeResponse | FileChunk | ForwardedCommand | Goodbye


def encode(message: FromWorker | FromMaster) -> bytes:
    """A message as msgpack."""
    return msgspec.msgpack.encode(message)


def from_worker(data: bytes) -> FromWorker:
    """Raises msgspec.MsgspecError."""
    message: FromWorker = msgspec.msgpack.decode(data, type=FromWorker)
    return message


def from_master(data: bytes) -> FromMaster:
    """Raises msgspec.MsgspecError."""
    message: FromMaster = msgspec.msgpack.decode(data, type=FromMaster)
    return message


def code_fingerprint() -> str:
    """A hash of the load generator's code: other code may send other requests for the same seed."""
    home = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((home / room).rglob("*.py")):
            digest.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
