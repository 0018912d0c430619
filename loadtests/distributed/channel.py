"""What master and joined workers say to each other over Locust's own channel, beside Locust's own words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

WORD = "kvchaos"
"""Locust's type of all these messages."""
ROOMS = ("history", "loadtests")
"""The packages that decide what a worker sends and records."""


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="join"):
    """A worker asks for a seat."""

    host: str
    pid: int
    code: str
    """See `code_fingerprint`."""


class Seat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="seat"):
    """Which of the load workers it is, and the run.yaml of the run."""

    worker: int
    of: int
    plan: str


class NoSeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="no-seat"):
    """It is not needed in this run."""

    why: str


class Unfit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unfit"):
    """It cannot take part in any run of this master."""

    why: str


class AskTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask-time"):
    sent_wall_ns: int
    sent_mono_ns: int


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="time"):
    """The master's clocks as it was asked, with the question."""

    sent_wall_ns: int
    sent_mono_ns: int
    told_wall_ns: int
    told_mono_ns: int


class AskFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ask-file"):
    """A piece of a file that a workload of the plan names."""

    workload: str
    offset: int


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="piece"):
    """None behind the end of the file."""

    content: bytes


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="order"):
    """A command for the worker, as JSON (loadtests.messages.Command)."""

    command: bytes


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="said"):
    """A report of the worker, as JSON (loadtests.messages.Report)."""

    report: bytes


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="records"):
    """Requests that have ended, as lines of JSON."""

    count: int
    lines: bytes


class Leave(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="leave"):
    """All is said."""

    records: int
    """Sent over all the run."""


class Farewell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="farewell"):
    """All was heard."""


FromWorker = Join | AskTime | AskFile | Said | Records | Leave
FromMaster = Seat | NoSeat | Unfit | Time | Piece | Order | Farewell


def encode(word: FromWorker | FromMaster) -> bytes:
    return msgspec.msgpack.encode(word)


def from_worker(data: bytes) -> FromWorker:
    """Raises msgspec.MsgspecError."""
    word: FromWorker = msgspec.msgpack.decode(data, type=FromWorker)
    return word


def from_master(data: bytes) -> FromMaster:
    """Raises msgspec.MsgspecError."""
    word: FromMaster = msgspec.msgpack.decode(data, type=FromMaster)
    return word


def code_fingerprint() -> str:
    """Names the code that makes the load: other code may make another load of the same seed."""
    home = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((home / room).rglob("*.py")):
            digest.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
