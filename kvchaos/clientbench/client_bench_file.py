"""Measurements of the client, kept in the cache folder so that they can be looked up later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from history.scenario import ClientKind
from kvchaos.clientbench.step_figures import StepFigures
from kvchaos.errors import UsageError


class ClientBench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measurement: when, where, with what, and its steps."""

    v: Literal[1] = 1
    created: str
    """UTC, ISO 8601."""
    host: str
    kvchaos: str
    git: str
    python: str
    openai: str
    workers: int
    client: ClientKind = "openai"
    load_average: float
    """Of the machine in the minute before; what else ran takes its share."""
    steps: list[StepFigures]


_benches = msgspec.json.Decoder(ClientBench)


def store_bench(bench: ClientBench, folder: Path) -> Path:
    """Write a measurement under its date. Raises UsageError."""
    moment = datetime.fromisoformat(bench.created).astimezone(UTC)
    path = folder / f"{moment:%Y%m%d-%H%M%S}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(bench)) + b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def latest_bench(folder: Path) -> ClientBench | None:
    """The last measurement that was kept; None when there is none. Raises UsageError for a damaged one."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        return None
    try:
        return _benches.decode(paths[-1].read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{paths[-1]}: cannot be read: {error}; remove it") from error
