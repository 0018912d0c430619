"""The provenance log of the scheduler: whose blocks a request was given, within a bound of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from chaos.inside.transfer_audit import provenance_log
from chaos.inside.transfer_audit.provenance_log import ProvenanceLog
from history.protocol.audit_records import (
    AnyProvenance,
    BlocksStored,
    LoadCached,
    LogFull,
    LogOpened,
    PrefixReused,
    TierReset,
)
from history.records import ProvenanceRecord

TOKENS = 4
"""Of a block."""
HASHES = [bytes([number]) * 32 for number in range(1, 9)]
KEYS = [each[:8].hex() for each in HASHES]
DECODER = msgspec.json.Decoder(ProvenanceRecord)


@dataclass
class Request:
    """What the log reads of vLLM's Request: 8 whole blocks, and one token."""

    request_id: str = "r"
    block_hashes: list[bytes] = field(default_factory=lambda: HASHES)
    num_tokens: int = 8 * TOKENS + 1
    skip_reading_prefix_cache: bool = False


class Blocks:
    """Stands for KVCacheBlocks: the blocks of a request are 10, 11 and so on."""

    def get_block_ids(self) -> tuple[list[int], ...]:
        return ([10 + number for number in range(9)],)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ProvenanceLog]:
    log = ProvenanceLog(tmp_path, "scheduler")
    log.block_tokens, log.all_matches = TOKENS, True
    yield log
    log.close()


def written(folder: Path) -> list[AnyProvenance]:
    """The events of the log after its first, which says that it is open."""
    (path,) = folder.glob("provenance-scheduler-*.jsonl")
    opened, *events = (DECODER.decode(line).evidence for line in path.read_bytes().splitlines())
    assert opened == LogOpened()
    return [msgspec.convert(msgspec.to_builtins(event), type(event)) for event in events]


def test_request_records_device_hits_and_loaded_blocks_behind_them(
    tmp_path: Path, log: ProvenanceLog
) -> None:
    log.matched("r", 2 * TOKENS)
    log.load_begins(HASHES[2:5])
    log.given(Request(), Blocks(), 3 * TOKENS)
    (reused,) = written(tmp_path)
    assert reused == PrefixReused(
        device=KEYS[:2], loaded=KEYS[2:5], blocks=[12, 13, 14], tier=(), missed=KEYS[2]
    )


def test_tier_keys_with_a_group_match_device_keys(tmp_path: Path, log: ProvenanceLog) -> None:
    log.matched("r", 0)
    log.load_begins(each + bytes(4) for each in HASHES[:2])
    log.given(Request(), Blocks(), 2 * TOKENS)
    (reused,) = written(tmp_path)
    assert isinstance(reused, PrefixReused)
    assert (list(reused.loaded), reused.tier) == (KEYS[:2], ())


def test_chunk_keys_are_recorded_beside_block_keys(tmp_path: Path, log: ProvenanceLog) -> None:
    log.matched("r", 0)
    log.load_begins([HASHES[1], HASHES[3]])
    log.given(Request(), Blocks(), 4 * TOKENS)
    (reused,) = written(tmp_path)
    assert isinstance(reused, PrefixReused)
    assert (list(reused.loaded), list(reused.tier)) == (KEYS[:4], [KEYS[1], KEYS[3]])


def test_the_second_time_that_a_load_is_scheduled_its_blocks_are_in_the_cache(
    tmp_path: Path, log: ProvenanceLog
) -> None:
    log.matched("r", 0)
    log.given(Request(), Blocks(), 2 * TOKENS)
    log.given(Request(), Blocks(), 0)
    log.given(Request(), Blocks(), 0)
    assert [type(event) for event in written(tmp_path)] == [PrefixReused, LoadCached]


def test_a_request_that_ended_while_it_loaded_is_never_in_the_cache(
    tmp_path: Path, log: ProvenanceLog
) -> None:
    log.matched("r", 0)
    log.given(Request(), Blocks(), 2 * TOKENS)
    log.ended(["r"])
    log.given(Request(), Blocks(), 0)
    assert [type(event) for event in written(tmp_path)] == [PrefixReused]


@pytest.mark.parametrize(
    ("request_", "all_matches"),
    [
        (Request(num_tokens=2 * TOKENS), True),
        (Request(skip_reading_prefix_cache=True), True),
        (Request(), False),
    ],
)
def test_block_outside_the_cache_query_is_no_miss(
    tmp_path: Path, log: ProvenanceLog, request_: Request, all_matches: bool
) -> None:
    log.all_matches = all_matches
    log.matched("r", TOKENS)
    log.given(request_, Blocks(), 0)
    (reused,) = written(tmp_path)
    assert reused == PrefixReused(device=KEYS[:1])


def test_stores_and_resets_are_written(tmp_path: Path, log: ProvenanceLog) -> None:
    log.store_begins("r", HASHES[:2], [7, 8])
    log.store_begins("r", [], [])
    log.reset()
    assert written(tmp_path) == [BlocksStored(keys=KEYS[:2], chunks=[7, 8]), TierReset()]


def test_full_provenance_log_records_its_end_and_stops(
    tmp_path: Path, log: ProvenanceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance_log, "MOST_BYTES", 1000)
    for _ in range(20):
        log.store_begins("r", HASHES, range(8))
    events = written(tmp_path)
    assert 1 < len(events) < 10
    assert [isinstance(event, LogFull) for event in events] == [False] * (len(events) - 1) + [True]
