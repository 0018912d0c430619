"""The requests of a soak: their records in a file, and as columns the counts of the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.soak.soak_plan import (
    BLOCK_SIZE,
    MONO_SHIFT_NS,
    NS_PER_S,
    PROMPT_TOKENS,
    REQUESTS_PER_S,
    STRUCK_EVERY,
    SoakPhase,
)
from history.records import RequestRecord, Usage

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", Ints, Floats)

LEAST_TOKENS, MOST_TOKENS = 24, 40
"""Fewest and most tokens of an answer."""
VOCABULARY = 320
BATCH = 10_000
"""Requests made at a time."""
SHARERS = 4
"""Shared prompts that begin alike."""
LOCAL_BLOCKS, EXTERNAL_BLOCKS = 4, 6
"""Cached blocks of a shared prompt that was sent before: on the device, and in the tier."""
LATE_MS = 40.0
"""Delay of the completion of a struck KV load."""
STRIKE_US = 2_000
"""Time from the start of a request to the injection."""
NONE, FAILED, LATE = 0, 1, 2


@dataclass(frozen=True)
class Columns:
    """One entry a request."""

    start_ns: Ints
    first_us: Ints
    end_us: Ints
    tokens: Ints
    local: Ints
    """Prompt tokens found on the device."""
    external: Ints
    """Prompt tokens that came from the tier."""
    copied: Ints
    """Tokens copied from the tier, also in vain."""
    strike: Ints
    """NONE, FAILED or LATE."""

    def end_ns(self) -> Ints:
        """Ends of the requests, ns, int64 [requests]."""
        return self.start_ns + self.end_us * 1000


def joined(parts: list[Columns]) -> Columns:
    """All parts as one."""
    names = Columns.__dataclass_fields__
    return Columns(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, slots=True)
class SoakAnswer:
    """The answer to a prompt: token ids and logprobs, both [tokens]."""

    token_ids: list[int]
    logprobs: list[float]


class RequestWriter:
    """Writes the records of one phase after the other."""

    def __init__(self, path: Path, seed: int, shared_prompts: int) -> None:
        self._path = path
        self._seed = seed
        self._shared = _answers(np.random.default_rng((seed, 0)), shared_prompts)

    def write(self, soak_phase: SoakPhase) -> Columns:
        """Append the records of a phase; what the server is to have counted of them."""
        rng = np.random.default_rng((self._seed, 1, soak_phase.number))
        encoder = msgspec.json.Encoder()
        parts: list[Columns] = []
        with self._path.open("ab") as file:
            for first in range(0, soak_phase.spec.requests, BATCH):
                count = min(BATCH, soak_phase.spec.requests - first)
                columns, records = self._batch(soak_phase, first, count, rng)
                file.write(b"".join(encoder.encode(record) + b"\n" for record in records))
                parts.append(columns)
        return joined(parts)

    def _batch(
        self, soak_phase: SoakPhase, first: int, count: int, rng: np.random.Generator
    ) -> tuple[Columns, Iterator[RequestRecord]]:
        unique = soak_phase.spec.workload == "fresh"
        if unique:
            answers = _answers(rng, count)
        else:
            indexes = (np.arange(first, first + count) % len(self._shared)).tolist()
            answers = [self._shared[index] for index in indexes]
        columns, chunk_us = _columns(soak_phase, first, answers, rng)
        return columns, _records(soak_phase, first, columns, chunk_us, answers, len(self._shared))


def _answers(rng: np.random.Generator, count: int) -> list[SoakAnswer]:
    """Logprobs are the server's own: single precision, written with all their digits."""
    lengths = rng.integers(LEAST_TOKENS, MOST_TOKENS, count, endpoint=True).tolist()
    ids = rng.integers(0, VOCABULARY, (count, MOST_TOKENS)).tolist()
    logprobs = (-4 * rng.random((count, MOST_TOKENS), np.float32)).astype(np.float64).tolist()
    return [
        SoakAnswer(own[:length], values[:length])
        for length, own, values in zip(lengths, ids, logprobs, strict=True)
    ]


def _columns(
    soak_phase: SoakPhase, first: int, answers: list[SoakAnswer], rng: np.random.Generator
) -> tuple[Columns, Ints]:
    """The columns, and the arrival of each token, microseconds from the start."""
    count = len(answers)
    tokens = np.array([len(answer.token_ids) for answer in answers])
    index = np.arange(first, first + count)
    start_ns = soak_phase.start_ns + ((index + rng.random(count)) / REQUESTS_PER_S * NS_PER_S).astype(
        np.int64
    )
    known = soak_phase.spec.role != "golden" and soak_phase.spec.workload != "fresh"
    strike = np.zeros(count, np.int64)
    if soak_phase.spec.role == "chaos":
        strike[index % STRUCK_EVERY == 0] = FAILED
        strike[index % STRUCK_EVERY == 1] = LATE
    gaps = (rng.lognormal(np.log(8_000), 0.3, (count, MOST_TOKENS))).astype(np.int64)
    gaps[:, 0] = rng.lognormal(np.log(50_000), 0.5, count).astype(np.int64) + 5_000
    gaps[strike == LATE, 0] += round(LATE_MS * 1000) + STRIKE_US
    chunk_us = np.cumsum(gaps, axis=1)
    hit = EXTERNAL_BLOCKS * BLOCK_SIZE * known
    columns = Columns(
        start_ns=start_ns,
        first_us=chunk_us[:, 0],
        end_us=chunk_us[np.arange(count), tokens - 1] + 300,
        tokens=tokens,
        local=np.full(count, LOCAL_BLOCKS * BLOCK_SIZE * known),
        external=np.where(strike == FAILED, 0, hit),
        copied=np.full(count, hit),
        strike=strike,
    )
    return columns, chunk_us


def _records(
    soak_phase: SoakPhase,
    first: int,
    columns: Columns,
    chunk_us: Ints,
    answers: list[SoakAnswer],
    shared: int,
) -> Iterator[RequestRecord]:
    phase, fresh = soak_phase.spec.name, soak_phase.spec.workload == "fresh"
    cached = (columns.local + columns.external).tolist()
    arrivals = chunk_us.tolist()
    for index, (start_ns, first_us, end_us, answer) in enumerate(
        zip(
            columns.start_ns.tolist(),
            columns.first_us.tolist(),
            columns.end_us.tolist(),
            answers,
            strict=True,
        )
    ):
        number, count = first + index, len(answer.token_ids)
        yield RequestRecord(
            id=f"{phase}-{number}",
            prompt_id=f"fresh-{number}" if fresh else f"shared-{number % shared}",
            phase=phase,
            worker=0,
            prompt_tokens=PROMPT_TOKENS,
            max_tokens=count,
            scheduled_ns=start_ns - 12_345,
            start_ns=start_ns,
            start_mono_ns=start_ns - MONO_SHIFT_NS,
            end_us=end_us,
            first_us=first_us,
            chunk_us=arrivals[index][:count],
            chunk_tokens=[1] * count,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=count, cached_tokens=cached[index]),
            finish_reason="length",
            status=200,
            outcome="ok",
            error=None,
            first_block=f"f{number:011x}" if fresh else f"5{number % shared // SHARERS:011x}",
        )
