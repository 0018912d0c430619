"""The figures of one run of a client, from its own records and those of the mock servers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from benchmarks.clients.client_load import ClientObservation
from benchmarks.process_watch import UsageSample, used_s
from history.latency import Quantiles
from loadtests.mock.mock_process import SentRecord

NS_PER_S, NS_PER_MS, MIB = 1e9, 1e6, 1 << 20
MIN_MATCHED = 0.95
"""Share of the answers that went out whole in the window; a client that reports fewer was not measured."""


class ClientRunFailed(Exception):
    """A run that gives no figures."""


class ClientFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of one client, in the window in which its load was steady."""

    client: str
    load: str
    window_s: float
    requests_per_s: float
    """Answered whole."""
    events_per_s: float
    """Sent by the mock servers."""
    events_per_cpu_s: float
    """Events per second of CPU time, over all processes of the client."""
    cpu: float
    """Processors that it used."""
    memory_mib: float
    """The most that was resident at a time."""
    ttft_error_ms: Quantiles
    """Its time of the first token less the server's time of sending it."""
    itl_error_ms: Quantiles
    """How far its gap between two events and the server's are apart; of means where it keeps only those."""
    mock_cpu: float
    """Share of one processor that the busiest mock server used."""
    mock_late_ms: Quantiles
    """Sent after it was due."""


@dataclass(frozen=True, slots=True)
class ClientRunRecords:
    """Records of one run of a client: its own times, the mock servers' log, samples of processes."""

    observed: Iterable[ClientObservation]
    sent: Mapping[str, SentRecord]
    """Records of what all mock servers sent."""
    samples: Sequence[UsageSample]
    """Usage of the client's processes."""
    mock_samples: Sequence[Sequence[UsageSample]]
    """Usage of each mock server."""


def client_figures(client: str, load: str, records: ClientRunRecords, warm_s: float) -> ClientFigures:
    """`warm_s`: so long after the first request the load counts as steady. Raises RunFailed."""
    begin_ns, end_ns = window(records.sent.values(), warm_s)
    samples = [sample for sample in records.samples if begin_ns <= sample.at_ns <= end_ns]
    if len(samples) < 3:
        raise ClientRunFailed(f"the load was steady for {(end_ns - begin_ns) / NS_PER_S:.1f} s only")
    begin_ns, end_ns = samples[0].at_ns, samples[-1].at_ns
    wall_s, cpu_s = (end_ns - begin_ns) / NS_PER_S, used_s(samples)
    inside = [record for record in records.sent.values() if record.sent_ns and begin_ns < record.sent_ns[0]]
    events = sum(begin_ns < at <= end_ns for record in records.sent.values() for at in record.sent_ns)
    whole = [record for record in inside if not record.left and record.end_ns <= end_ns]
    pairs = _pairs(records.observed, {record.id: record for record in whole})
    if not whole or len(pairs) < MIN_MATCHED * len(whole):
        raise ClientRunFailed(f"{len(whole)} answers went out whole, it tells of {len(pairs)} of them")
    ended = sum(begin_ns < record.end_ns <= end_ns and not record.left for record in records.sent.values())
    return ClientFigures(
        client=client,
        load=load,
        window_s=wall_s,
        requests_per_s=ended / wall_s,
        events_per_s=events / wall_s,
        events_per_cpu_s=events / cpu_s,
        cpu=cpu_s / wall_s,
        memory_mib=max(sample.resident_bytes for sample in samples) / MIB,
        ttft_error_ms=Quantiles.of(
            (observed.first_ns - sent.sent_ns[0]) / NS_PER_MS for observed, sent in pairs
        ),
        itl_error_ms=Quantiles.of(error for pair in pairs for error in _gap_errors_ms(*pair)),
        mock_cpu=max(_share(own, begin_ns, end_ns) for own in records.mock_samples),
        mock_late_ms=Quantiles.of(
            (out - due) / NS_PER_MS
            for record in inside
            for out, due in zip(record.sent_ns, record.due_ns, strict=True)
        ),
    )


def window(sent: Iterable[SentRecord], warm_s: float) -> tuple[float, float]:
    """Interval of full load: from some time after the first request to the last one."""
    received = sorted(record.received_ns for record in sent)
    if not received:
        raise ClientRunFailed("no request came")
    return received[0] + warm_s * NS_PER_S, received[-1]


def _pairs(
    observed: Iterable[ClientObservation], sent: Mapping[str, SentRecord]
) -> list[tuple[ClientObservation, SentRecord]]:
    return [(one, sent[one.id]) for one in observed if one.id in sent]


def _gap_errors_ms(observed: ClientObservation, sent: SentRecord) -> Iterator[float]:
    gaps_ms = [(later - at) / NS_PER_MS for at, later in pairwise(sent.sent_ns)]
    if observed.mean_gap_ms is not None:
        yield abs(observed.mean_gap_ms - sum(gaps_ms) / len(gaps_ms))
        return
    if len(observed.gaps_ms) != len(gaps_ms):
        raise ClientRunFailed(
            f"request {observed.id}: {len(gaps_ms)} gaps were sent, it tells of {len(observed.gaps_ms)}"
        )
    yield from (abs(one - other) for one, other in zip(observed.gaps_ms, gaps_ms, strict=True))


def _share(samples: Sequence[UsageSample], begin_ns: float, end_ns: float) -> float:
    own = [sample for sample in samples if begin_ns <= sample.at_ns <= end_ns]
    return used_s(own) / (own[-1].at_ns - own[0].at_ns) * NS_PER_S if len(own) > 1 else 0.0
