"""Figures of a watched load come from all of its records, and none from a load that was too short."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.watched_load import FEWEST_SAMPLES, MIB, LoadNotMeasured, MemoryUse, sent_load
from history import layout
from history.latency import Quantiles
from tests.support.synthetic_records import good_request


def test_memory_of_too_few_samples_is_not_judged() -> None:
    with pytest.raises(LoadNotMeasured):
        MemoryUse.of(MIB, [MIB] * (FEWEST_SAMPLES - 1))


def test_growth_counts_from_the_peak_of_the_first_tenth() -> None:
    samples = [MIB * used for used in (10, 50, *[20] * 17, 80)]
    assert MemoryUse.of(5 * MIB, samples) == MemoryUse(ready_mib=5.0, early_mib=50.0, most_mib=80.0)


def test_requests_of_all_workers_are_counted(tmp_path: Path) -> None:
    second = 1_000_000_000
    for worker in range(2):
        lines = [
            msgspec.structs.replace(
                good_request(f"{worker}-{number}", "p", "load", 0),
                scheduled_ns=second * number,
                start_ns=second * number + 2_000_000,
                end_us=500_000,
                token_ids=[1, 2, 3],
                client_queued=number == 0,
            )
            for number in range(3)
        ]
        (tmp_path / layout.requests_file(worker)).write_bytes(msgspec.json.Encoder().encode_lines(lines))
    sent = sent_load(tmp_path)
    assert (sent.requests, sent.tokens, sent.client_queued) == (6, 18, 2)
    assert sent.late_ms == Quantiles(2.0, 2.0)
    assert (sent.span_s, sent.in_flight) == (2.0, 1.5)


def test_one_request_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / layout.requests_file(0)).write_bytes(msgspec.json.encode(good_request("0", "p", "load", 0)))
    with pytest.raises(LoadNotMeasured):
        sent_load(tmp_path)
