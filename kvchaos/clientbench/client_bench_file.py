"""Measurements of the client: the figures of each step, the two maxima, and the file that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from history.latency import Quantiles, schedule_lag_ms
from history.records import ClientRecord, RequestRecord
from history.scenario import ClientKind
from kvchaos.errors import UsageError
from loadtests.mock.mock_process import SentRecord

NS_PER_US, NS_PER_MS, US_PER_MS, US_PER_S = 1e3, 1e6, 1e3, 1e6


class ClientBenchFailed(Exception):
    """A step that gives no figures, with the reason."""


class StepFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The figures of one step. Rates and processor times are of the same steady window of the load."""

    step: str
    concurrency: int
    answer_tokens: int
    rate: float | None
    """Requests/s that were due, open loop; None: closed loop."""
    window_s: float
    requests_per_s: float
    events_per_s: float
    """Events with tokens: one token each."""
    cpu_us_per_event: float | None
    """CPU time of all load workers, everything that they do included; None without events."""
    client_cpu: float
    """Share of one processor that the busiest worker used."""
    server_cpu: float
    """The same of the mock server."""
    lag_ms: Quantiles
    """Delay of the workers' event loops."""
    late_ms: Quantiles
    """Starts after they were due."""
    ttft_error_ms: Quantiles
    """First token: the client's stamp less the moment at which it was sent."""
    itl_error_ms: Quantiles
    """Between two events: how far the client's gap and the server's are apart."""
    server_late_ms: Quantiles
    """The mock server's sends after they were due by its schedule."""


@dataclass(frozen=True, slots=True)
class LoadStep:
    """The load of one step."""

    name: str
    concurrency: int
    answer_tokens: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class StepRecords:
    """The records of one step."""

    requests: Sequence[RequestRecord]
    client: Sequence[ClientRecord]
    sent: Mapping[str, SentRecord]
    stopped_ns: int
    """Monotonic; what comes later is the end of the load."""
    server_cpu: float


def step_figures(step: LoadStep, records: StepRecords) -> StepFigures:
    """Raises ClientBenchFailed when a token was lost, or nothing was steady long enough."""
    _check(records)
    windows = _windows(records)
    wall_s = max(sum(one.wall_us for one in samples) for samples in windows.values()) / US_PER_S
    cpu_us = sum(one.cpu_us for samples in windows.values() for one in samples)
    events = sum(_inside(windows[record.worker], _stamps(record)) for record in records.requests)
    ends = sum(_inside(windows[record.worker], [_end(record)]) for record in records.requests if _ok(record))
    samples = [one for own in windows.values() for one in own]
    pairs = [(record, records.sent[record.id]) for record in records.requests if _ok(record)]
    return StepFigures(
        step=step.name,
        concurrency=step.concurrency,
        answer_tokens=step.answer_tokens,
        rate=step.rate,
        window_s=wall_s,
        requests_per_s=ends / wall_s,
        events_per_s=events / wall_s,
        cpu_us_per_event=cpu_us / events if events else None,
        client_cpu=max(sum(x.cpu_us for x in own) / sum(x.wall_us for x in own) for own in windows.values()),
        server_cpu=records.server_cpu,
        lag_ms=Quantiles.of(lag / US_PER_MS for one in samples for lag in one.event_loop_lag_us),
        late_ms=Quantiles.of(schedule_lag_ms(each) for each in records.requests if not each.client_queued),
        ttft_error_ms=Quantiles.of((_stamps(r)[0] - s.sent_ns[0]) / NS_PER_MS for r, s in pairs if s.sent_ns),
        itl_error_ms=Quantiles.of(error for r, s in pairs for error in _gap_errors_ms(r, s)),
        server_late_ms=Quantiles.of(
            (out - due) / NS_PER_MS for _, s in pairs for out, due in zip(s.sent_ns, s.due_ns, strict=True)
        ),
    )


def _check(records: StepRecords) -> None:
    for record in records.requests:
        sent = records.sent.get(record.id)
        if record.outcome not in ("ok", "aborted"):
            kind = record.error.kind if record.error else record.outcome
            raise ClientBenchFailed(f"request {record.id} failed ({kind}); nothing was to fail here")
        if _ok(record) and (sent is None or sent.event_tokens != record.chunk_tokens):
            raise ClientBenchFailed(f"request {record.id}: client and mock server differ in what was sent")


def _windows(records: StepRecords) -> dict[int, list[ClientRecord]]:
    """Samples of the steady window by worker: after the first, in which load begins, up to the stop."""
    windows: dict[int, list[ClientRecord]] = {}
    # With fewer requests at once than workers some of these have nothing to do.
    busy = {record.worker for record in records.requests}
    for record in records.client:
        if record.worker in busy:
            windows.setdefault(record.worker, []).append(record)
    steady = {
        worker: [one for one in own[1:] if one.mono_ns <= records.stopped_ns]
        for worker, own in windows.items()
    }
    if not steady or not all(steady.values()):
        raise ClientBenchFailed("the step was too short: give it more --seconds")
    return steady


def _inside(samples: Sequence[ClientRecord], moments_ns: Sequence[float]) -> int:
    begin = samples[0].mono_ns - samples[0].wall_us * NS_PER_US
    return sum(begin < moment <= samples[-1].mono_ns for moment in moments_ns)


def _ok(record: RequestRecord) -> bool:
    return record.outcome == "ok"


def _stamps(record: RequestRecord) -> list[float]:
    return [record.start_mono_ns + at_us * NS_PER_US for at_us in record.chunk_us]


def _end(record: RequestRecord) -> float:
    return record.start_mono_ns + record.end_us * NS_PER_US


def _gap_errors_ms(record: RequestRecord, sent: SentRecord) -> Iterator[float]:
    for (one, other), (out, later) in zip(pairwise(_stamps(record)), pairwise(sent.sent_ns), strict=True):
        yield abs((other - one) - (later - out)) / NS_PER_MS


SATURATED = 0.9
"""Share of a processor from which a process counts as saturated."""


def summarize(steps: Sequence[StepFigures]) -> list[str]:
    """One line for each maximum, with the process that limited it."""
    closed = [step for step in steps if step.rate is None]
    if not closed:
        return []
    tokens = max(closed, key=lambda step: step.events_per_s)
    requests = max(closed, key=lambda step: step.requests_per_s)
    return [
        f"most events: {tokens.events_per_s:.0f} /s at {tokens.concurrency} at once; {_limit(tokens)}",
        f"most requests: {requests.requests_per_s:.0f} /s at {requests.concurrency} at once; "
        f"{_limit(requests)}",
    ]


def _limit(step: StepFigures) -> str:
    if step.server_cpu >= SATURATED:
        return "the mock server was the limit; the client may reach a higher rate"
    if step.client_cpu >= SATURATED:
        return "the client was the limit"
    return "neither client nor mock server had all of a processor: busy machine, or too few at once"


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
    """Load average of the machine in the minute before; other programs take their share."""
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
