"""What the search for change points found: `creep.json` in the folder of the history, made again each time.

It may only say that a series is suspicious. It opens no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kvchaos.errors import UsageError
from kvchaos.nightly.night_records import Line, NightId

CREEP = "creep.json"


class Suspicion(Line, frozen=True, kw_only=True):
    """One change point of one series."""

    series: str
    night: NightId
    """The first night after the change point."""
    slowdown: float
    """Logarithm: mean after the change point less the mean before it."""
    p: float


class CreepFile(Line, frozen=True, kw_only=True):
    """The result of one search."""

    night: NightId
    """The last night that was searched."""
    tool: str
    suspicions: Sequence[Suspicion] = ()


_creep = msgspec.json.Decoder(CreepFile)


def write_creep(folder: Path, found: CreepFile) -> None:
    """Raises UsageError."""
    path = folder / CREEP
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def read_creep(folder: Path, night: str) -> Sequence[Suspicion]:
    """What the search up to this night found; empty where it was not made. Raises UsageError."""
    path = folder / CREEP
    try:
        found = _creep.decode(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}; make it again with: kvchaos nightly creep") from error
    return found.suspicions if found.night == night else ()
