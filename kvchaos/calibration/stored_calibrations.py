"""Calibrations of this machine: a line for each in `calibrations.jsonl` of the cache folder.

The last line for a server's identity counts.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from history.scaling import ScaleName
from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, read_json_lines

FILE = "calibrations.jsonl"


class ServerIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides how a server rounds."""

    device: str
    """Names of the GPUs, or of the processor."""
    vllm: str
    torch: str
    model: str
    """Name and revision, or fingerprint."""
    scale: ScaleName
    batch_invariant: bool = False
    """Whether vLLM sums in one order, whatever the batch."""
    gpu_args: tuple[str, ...] = ()
    """Arguments of vLLM that the user adds for servers on a GPU."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The result of one calibration."""

    identity: ServerIdentity
    pairs: int
    equal: int
    largest: float
    """Largest difference of the logprob of an equal token, nats."""
    diverged: int
    """Pairs with a different token."""
    tolerance: float
    """Allowed difference of logprobs, nats."""
    run: str
    """Run directory, by its name."""
    created: str
    """UTC, ISO 8601."""


_decoder = msgspec.json.Decoder(Calibration)


def stored_calibration(identity: ServerIdentity, cache: Path) -> Calibration | None:
    """The last calibration of a server; None without one. Raises UsageError for a damaged file."""
    lines = read_json_lines(cache / FILE, _decoder, advice="; delete the file to calibrate again")
    return next((line for line in reversed(lines) if line.identity == identity), None)


def store_calibration(calibration: Calibration, cache: Path) -> None:
    """Append a calibration. Raises UsageError when it cannot be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        append_json_lines(cache / FILE, [calibration])
    except OSError as error:
        raise UsageError(f"{cache / FILE}: cannot be written: {error.strerror}") from error
