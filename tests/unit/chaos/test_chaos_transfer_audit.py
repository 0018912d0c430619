"""The books inside the server: a rule that is broken is told, one that is kept is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.inside.journal_file import RoleFile
from chaos.inside.transfer_audit import audit_log
from chaos.inside.transfer_audit.audit_log import AuditLog, ShadowTier, TransferTracker
from history.protocol import audit_records as rules
from history.records import LedgerRecord


class _Ids(list[int]):
    """Stands for an array of numbers."""

    def tolist(self) -> list[int]:
        return list(self)


class _Spec:
    def __init__(self, chunks: Sequence[int]) -> None:
        self.block_ids = _Ids(chunks)


ONE, TWO = b"\x01" * 4, b"\x02" * 4


@pytest.fixture
def ledger(tmp_path: Path) -> AuditLog:
    return AuditLog(RoleFile(tmp_path, "ledger", "scheduler"))


@pytest.fixture
def shadow_tier(ledger: AuditLog) -> ShadowTier:
    return ShadowTier(ledger)


def lines(folder: Path) -> list[LedgerRecord]:
    path = folder / f"ledger-scheduler-{os.getpid()}.jsonl"
    return [msgspec.json.decode(line, type=LedgerRecord) for line in path.read_bytes().splitlines()]


def broken(folder: Path) -> list[str | None]:
    return [line.rule for line in lines(folder) if line.event == "violation"]


def test_correct_store_and_load_break_no_rule(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE, TWO], _Spec([0, 1]), [])
    shadow_tier.store_ends([ONE, TWO], success=True)
    shadow_tier.load_begins([ONE], _Spec([0]))
    shadow_tier.load_begins([ONE, TWO], _Spec([0, 1]))
    shadow_tier.load_ends([ONE])
    shadow_tier.load_ends([ONE, TWO])
    shadow_tier.store_begins([b"\x03"], _Spec([0]), [ONE])
    assert broken(tmp_path) == []


def test_concurrent_stores_of_a_block_are_reported(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.store_begins([ONE], _Spec([1]), [])
    assert broken(tmp_path) == [rules.STORED_TWICE]


def test_reuse_of_an_occupied_chunk_is_reported(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.store_begins([TWO], _Spec([0]), [])
    assert broken(tmp_path) == [rules.CHUNK_SHARED]


def test_failed_store_frees_its_chunk(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.store_ends([ONE], success=False)
    shadow_tier.store_begins([TWO], _Spec([0]), [])
    assert broken(tmp_path) == []


@pytest.mark.parametrize("what", ["store", "load"])
def test_transfer_end_without_begin_is_reported(tmp_path: Path, shadow_tier: ShadowTier, what: str) -> None:
    if what == "store":
        shadow_tier.store_ends([ONE], success=True)
    else:
        shadow_tier.load_ends([ONE])
    assert broken(tmp_path) == [f"{what}-not-begun"]


def test_load_from_a_wrong_chunk_is_reported(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE, TWO], _Spec([0, 1]), [])
    shadow_tier.store_ends([ONE, TWO], success=True)
    shadow_tier.load_begins([ONE], _Spec([1]))
    assert broken(tmp_path) == [rules.LOADED_ELSEWHERE]


def test_load_before_the_store_ended_is_reported(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.load_begins([ONE], _Spec([0]))
    assert broken(tmp_path) == [rules.LOADED_BEFORE_STORED]


def test_eviction_during_a_load_is_reported(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.store_ends([ONE], success=True)
    shadow_tier.load_begins([ONE], _Spec([0]))
    shadow_tier.store_begins([TWO], _Spec([0]), [ONE])
    assert broken(tmp_path) == [rules.EVICTED_WHILE_LOADED]


def test_after_a_reset_nothing_is_open_and_all_chunks_are_free(
    tmp_path: Path, ledger: AuditLog, shadow_tier: ShadowTier
) -> None:
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.reset()
    shadow_tier.store_begins([TWO], _Spec([0]), [])
    shadow_tier.store_ends([TWO], success=True)
    assert broken(tmp_path) == []
    assert ledger.tracker("stores").count() == 0


def test_the_blocks_in_the_tier_are_counted(ledger: AuditLog, shadow_tier: ShadowTier) -> None:
    assert ledger.resident == 0
    shadow_tier.store_begins([ONE, TWO], _Spec([0, 1]), [])
    shadow_tier.store_ends([ONE], success=True)
    shadow_tier.store_ends([TWO], success=False)
    assert (ledger.resident, shadow_tier.keys()) == (1, [ONE])
    shadow_tier.evicted([ONE])
    assert ledger.resident == 0
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    shadow_tier.reset()
    assert (ledger.resident, shadow_tier.keys()) == (0, [])


def test_a_block_that_survives_a_reset_is_a_violation(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    shadow_tier.survived(ONE)
    assert broken(tmp_path) == [rules.SURVIVED_RESET]


def test_role_without_blocks_counts_none(
    tmp_path: Path, ledger: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "QUIET_S", 0.0)
    ledger.tracker("copies").begin(1)
    ledger.settle()
    [line] = lines(tmp_path)
    assert "resident" not in line.evidence


def test_a_rule_that_is_always_broken_does_not_fill_the_disk(tmp_path: Path, shadow_tier: ShadowTier) -> None:
    for _ in range(audit_log.MOST_VIOLATIONS + 50):
        shadow_tier.store_ends([ONE], success=True)
    assert len(broken(tmp_path)) == audit_log.MOST_VIOLATIONS


def test_a_balance_is_written_when_it_is_quiet_and_only_once(
    tmp_path: Path, ledger: AuditLog, shadow_tier: ShadowTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "QUIET_S", 0.0)
    shadow_tier.store_begins([ONE], _Spec([0]), [])
    ledger.settle()
    ledger.settle()
    [line] = lines(tmp_path)
    assert line.event == "balance"
    assert (line.evidence["stores_begun"], line.evidence["stores_open"]) == (1, 1)
    assert line.evidence["stores_names"] == [ONE.hex()]
    since = line.evidence["stores_since_ns"]
    assert isinstance(since, int)
    assert since <= line.t_ns


def test_longest_transfer_is_returned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100, 107, 200, 205])
    monkeypatch.setattr(
        "chaos.inside.transfer_audit.audit_log.time", SimpleNamespace(time_ns=lambda: next(clock))
    )
    account = TransferTracker()
    assert account.take_longest() is None
    for name in (1, 2):
        account.begin(name)
        account.end(name)
    assert account.take_longest() == (100, 7)
    assert account.take_longest() is None


def test_idle_audit_log_writes_no_line(tmp_path: Path, ledger: AuditLog) -> None:
    ledger.tracker("stores")
    ledger.settle()
    assert lines(tmp_path) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_tracker_never_ends_an_unopened_transfer(steps: list[tuple[str, bool]]) -> None:
    account = TransferTracker()
    model: list[str] = []
    for name, begins in steps:
        if begins:
            account.begin(name)
            model.append(name)
        else:
            assert account.end(name) == (name in model)
            if name in model:
                model.remove(name)
        assert account.count() == len(model)
        assert (account.oldest()[0] is None) == (not model)
