"""Faults in what the tier answers and holds, on vLLM's real managers."""

from __future__ import annotations

from unittest import mock

from chaos.inside import process_globals
from chaos.inside.fault_kind import SCHEDULER
from history.protocol import audit_records as rules
from tests.server.contract.bench import CHUNKS, Bench
from tests.server.contract.control import control_room
from tests.server.contract.manager import KEYS, fill


def evict_removes_idle_blocks_and_records_their_number(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:CHUNKS])
        control.arm("evict", {"nth": [0]}, blocks=1)
        assert tier.prepare_store(KEYS[:1]) is not None
        [proof] = control.fired()
        # A block that went is new again to the very store that it made way for.
        left = [key for key, references in tier.references().items() if references >= 0]
        assert proof["blocks"] == CHUNKS - len(left)
        assert proof["blocks"] >= 1


def evict_all_spares_blocks_in_use(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:4])
        tier.prepare_load(KEYS[:1])
        control.arm("evict", {"nth": [0]}, blocks=1_000)
        tier.prepare_store(KEYS[:1])
        assert control.fired()[0]["blocks"] == 3
        assert tier.references() == {KEYS[0]: 1}, "only the block that is being loaded is left"
        tier.complete_load(KEYS[:1])
        fill(tier, KEYS[4:8])
        assert tier.lookup(KEYS[4:8]) == 4


def evict_of_nothing_does_not_count_as_fired(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        control.arm("evict", {"nth": [0]}, blocks=5)
        fill(tier, KEYS[:2])
        assert control.fired() == []
        assert any(line["event"] == "refused" for line in control.lines())


def a_shrunk_tier_has_room_for_the_rest_only_and_heals(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:3])
        control.arm("tier_shrunk", {"nth": [0]}, leave=2)
        assert tier.prepare_store(KEYS[:4]) is None
        assert control.fired() == [{"blocks": CHUNKS - 2, "left": 2}]
        fill(tier, KEYS[:2])
        assert tier.prepare_store(KEYS[5:8]) is None
        control.heal()
        fill(tier, KEYS[2:6])
        assert set(tier.references().values()) == {0}
        assert len(tier.references()) == CHUNKS


def a_store_reported_as_failed_leaves_no_block(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        control.arm("store_failed", {"nth": [0]})
        fill(tier, KEYS[:2])
        assert tier.references() == {}
        assert control.fired()[0]["blocks"] == 2
        fill(tier, KEYS[:2])
        assert tier.lookup(KEYS[:2]) == 2


def lookup_retry_puts_off_and_then_answers(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:3])
        control.arm("lookup_retry", {"nth": [1]})
        assert tier.lookup(KEYS[:3]) is None
        assert tier.lookup(KEYS[:3]) == 3
        assert len(control.fired()) == 1


def over_report_claims_one_block_more(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:2])
        control.arm("over_report", {"nth": [0]})
        assert tier.lookup(KEYS[:4]) == 3
        assert tier.lookup(KEYS[:4]) == 2
        assert [proof["key"][:64] for proof in control.fired()] == [KEYS[2].hex()]


def a_hit_whose_block_is_evicted_cannot_be_loaded(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:2])
        control.arm("evict_after_hit", {"nth": [1]})
        assert tier.lookup(KEYS[:2]) == 2
        assert control.fired()[0]["blocks"] == 2
        try:
            tier.prepare_load(KEYS[:2])
        except (AssertionError, KeyError):
            return
        raise AssertionError("vLLM prepared a load of blocks that are gone")


def a_reset_empties_the_tier_and_the_ledger_counts_none(bench: Bench) -> None:
    """Managers of older releases have no reset."""
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:3])
        ledger = process_globals._runtimes[SCHEDULER].audit
        assert ledger.resident == 3
        if hasattr(bench.manager_base, "reset_cache"):
            tier.manager.reset_cache()
            assert tier.references() == {}
            assert ledger.resident == 0


def a_block_that_survives_a_reset_of_the_tier_is_found(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:2])
        if hasattr(bench.manager_base, "reset_cache"):
            control.breaks = [rules.SURVIVED_RESET] * 2
            with mock.patch.object(tier.manager._inner, "reset_cache"):
                tier.manager.reset_cache()


CHECKS = (
    evict_removes_idle_blocks_and_records_their_number,
    evict_all_spares_blocks_in_use,
    evict_of_nothing_does_not_count_as_fired,
    a_shrunk_tier_has_room_for_the_rest_only_and_heals,
    a_store_reported_as_failed_leaves_no_block,
    lookup_retry_puts_off_and_then_answers,
    over_report_claims_one_block_more,
    a_hit_whose_block_is_evicted_cannot_be_loaded,
    a_reset_empties_the_tier_and_the_ledger_counts_none,
    a_block_that_survives_a_reset_of_the_tier_is_found,
)
