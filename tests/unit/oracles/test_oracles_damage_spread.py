"""Damage to a block harms exactly the requests that read it, or what came of it, by the provenance log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from history.protocol.audit_records import (
    AnyProvenance,
    BlocksStored,
    LoadCached,
    LogFull,
    LogOpened,
    PrefixReused,
    TierReset,
)
from history.protocol.schedule import Value
from history.records import FaultRecord, ProvenanceRecord
from history.verdict import Verdict
from oracles import answer_comparison, blast
from oracles.views.damage_spread import may_differ
from tests.support.contract_violating_runs import NOT_GOLDEN, differ, explained, planned, reset, verdict
from tests.support.histories import clean_run
from tests.support.oracle_results import finding_of
from tests.support.synthetic_records import MS, START_NS


class Logged:
    """A run with the log of its scheduler. Requests are places in the chaos phase."""

    def __init__(self, kind: str = "zero_block", **params: Value) -> None:
        self.run = clean_run(planned(kind, params))
        self.kind = kind
        self.first = self.run.first_of("chaos")
        self.lines: list[ProvenanceRecord] = []
        self.now_ns = START_NS
        self.write(None, LogOpened())
        self.now_ns = self.run.requests[self.first].start_ns + MS

    def id(self, index: int) -> str:
        return self.run.requests[self.first + index].id

    def write(self, index: int | None, event: AnyProvenance, pid: int = 100) -> None:
        self.now_ns += 1000
        self.lines.append(
            ProvenanceRecord(
                t_ns=self.now_ns,
                mono_ns=self.now_ns,
                role="scheduler",
                pid=pid,
                event="provenance",
                request=None if index is None else f"cmpl-{self.id(index)}-0-8d87c8ec",
                evidence=event,
            )
        )

    def loads(self, index: int, *loaded: str, device: Sequence[str] = (), missed: bool = True) -> None:
        """The keys `loaded` come to the device's blocks 10, 11 and so on."""
        first = loaded[0] if missed else None
        blocks = [10 + number for number, _ in enumerate(loaded)]
        self.write(index, PrefixReused(device=device, loaded=loaded, blocks=blocks, missed=first))

    def loaded(self, index: int, *loaded: str, device: Sequence[str] = ()) -> None:
        """Begin and end of a load."""
        self.loads(index, *loaded, device=device)
        self.write(index, LoadCached())

    def hits(self, index: int, *device: str, missed: str | None = None) -> None:
        self.write(index, PrefixReused(device=device, missed=missed))

    def computes(self, index: int, missed: str) -> None:
        self.write(index, PrefixReused(missed=missed))

    def stores(self, index: int, *keys: str, chunk: int = 0) -> None:
        chunks = [chunk + number for number, _ in enumerate(keys)]
        self.write(index, BlocksStored(keys=keys, chunks=chunks))

    def fire(self, index: int | None, **evidence: int | str | list[int | str]) -> None:
        self.now_ns += 1000
        self.run.fire_at(self.now_ns, "f1", self.kind, **evidence)
        if index is not None:
            name = f"cmpl-{self.id(index)}-0-8d87c8ec"
            self.run.faults[-1] = replace(self.run.faults[-1], request=name)

    def damage(self, index: int, block: int = 10) -> None:
        """A load is damaged."""
        self.fire(index, direction="load", block=block)

    def spoil(self, index: int, chunk: int) -> None:
        """A store is damaged."""
        self.fire(index, direction="store", block=chunk, chunks=[chunk])

    def fired(self) -> list[FaultRecord]:
        return [line for line in self.run.faults if line.event == "fired"]

    def log(self) -> None:
        self.run.provenance = list(self.lines)

    def affected(self) -> set[int] | None:
        """Places of the requests that may differ."""
        self.log()
        found = may_differ(self.run.history(), self.fired())
        return None if found is None else {index for index in range(4) if self.id(index) in found}


def test_load_damage_affects_only_its_request() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.loaded(1, "a", "b")
    assert log.affected() == {0}


def test_prefix_hit_on_a_damaged_block_is_affected() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.hits(1, "a")
    assert log.affected() == {0, 1}


def test_prefix_hit_before_the_damaged_block_is_unaffected() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0, block=11)
    log.write(0, LoadCached())
    log.hits(1, "a")
    assert log.affected() == {0}


def test_recomputed_block_is_undamaged_for_later_hits() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.computes(1, "a")
    log.hits(2, "a", "b")
    assert log.affected() == {0}


def test_miss_before_the_damaged_block_was_cached_is_ignored() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.computes(1, "a")
    log.write(0, LoadCached())
    log.hits(2, "a", "b")
    assert log.affected() == {0, 2}


def test_cache_miss_behind_a_damaged_block_keeps_it_damaged() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.computes(1, "b")
    log.hits(2, "a")
    assert log.affected() == {0, 2}


def test_the_reset_of_the_prefix_cache_ends_the_damage_of_a_load() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    reset(log.run)
    log.now_ns = next(event.t_ns for event in log.run.events if event.kind == "prefix_cache_reset")
    log.hits(1, "a")
    assert log.affected() == {0}


def test_affected_request_stores_damaged_blocks_from_the_damage_on() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0, block=11)
    log.stores(0, "a", "b", "c")
    log.loaded(1, "a")
    log.loaded(2, "a", "b", "c")
    assert log.affected() == {0, 2}


def test_store_damage_affects_loading_requests_and_not_the_storing_one() -> None:
    log = Logged()
    log.stores(0, "a", "b", chunk=5)
    log.spoil(0, 6)
    log.loaded(1, "a", "b")
    log.loaded(2, "a")
    assert log.affected() == {1}


def test_block_stored_again_is_undamaged() -> None:
    log = Logged()
    log.stores(0, "a", chunk=5)
    log.spoil(0, 5)
    log.stores(1, "a", chunk=7)
    log.loaded(2, "a")
    assert log.affected() == set()


def test_damage_affects_the_block_last_stored_in_the_chunk() -> None:
    log = Logged()
    log.stores(0, "a", chunk=5)
    log.stores(0, "b", chunk=5)
    log.spoil(0, 5)
    log.stores(0, "c", chunk=5)
    log.loaded(1, "a")
    log.loaded(2, "b")
    log.loaded(3, "c")
    assert log.affected() == {2}


def test_the_reset_of_the_tier_ends_the_damage_of_a_store() -> None:
    log = Logged()
    log.stores(0, "a", chunk=5)
    log.spoil(0, 5)
    log.write(None, TierReset())
    log.loaded(2, "a")
    assert log.affected() == set()


def test_request_with_sound_blocks_after_preemption_stores_sound_blocks() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.computes(0, "a")
    log.stores(0, "c")
    log.loaded(1, "a", "b", "c")
    assert log.affected() == {0}


def test_damage_covers_all_blocks_of_a_chunk() -> None:
    log = Logged()
    log.stores(0, "b", chunk=5)
    log.spoil(0, 5)
    log.write(1, PrefixReused(loaded=["a", "b"], blocks=[10, 11], tier=["b"]))
    log.hits(2, "a")
    assert log.affected() == {1, 2}


@pytest.mark.parametrize("kind", ["completion_late", "copy_delay", "copy_refused", "copy_failed"])
def test_faulty_load_affects_only_requests_that_read_its_blocks(kind: str) -> None:
    log = Logged(kind)
    log.loads(0, "a", "b")
    log.fire(0, direction="load")
    log.write(0, LoadCached())
    log.hits(1, "a", "b")
    log.loaded(2, "x")
    assert log.affected() == {0, 1}


@pytest.mark.parametrize("kind", ["completion_lost", "copy_refused", "copy_failed"])
def test_load_of_a_faulty_store_is_affected(kind: str) -> None:
    log = Logged(kind)
    log.stores(0, "a")
    log.stores(0, "b", chunk=1)
    log.fire(0, direction="store")
    log.loaded(1, "a", "b")
    log.loaded(2, "x")
    assert log.affected() == {1}


def test_a_failed_load_names_the_blocks_that_were_reported() -> None:
    log = Logged("load_failure")
    log.loads(0, "a", "b")
    log.fire(0, blocks=[11], of=2)
    log.write(0, LoadCached())
    log.hits(1, "a", missed="x")
    log.hits(2, "a", "b")
    assert log.affected() == {0, 2}


def test_restart_with_a_reused_process_id_clears_the_damage() -> None:
    log = Logged()
    log.loads(0, "a", "b")
    log.damage(0)
    log.write(0, LoadCached())
    log.write(None, LogOpened())
    log.hits(1, "a", "b")
    assert log.affected() == {0}


def undecided() -> list[Logged]:
    """Logs that do not tell whom a firing struck."""
    nameless, unknown_block, no_load, full, early = (Logged() for _ in range(5))
    for log in (nameless, unknown_block, full):
        log.loads(0, "a", "b")
    nameless.fire(None, direction="load", block=10)
    unknown_block.damage(0, block=99)
    no_load.damage(0)
    full.damage(0)
    full.write(None, LogFull())
    early.lines.clear()
    early.damage(0)
    of_an_earlier_version = Logged()
    of_an_earlier_version.stores(0, "a", chunk=5)
    of_an_earlier_version.fire(0, direction="store", block=5)
    two_at_a_time = Logged()
    two_at_a_time.loads(0, "a")
    two_at_a_time.write(None, LogOpened(), pid=200)
    two_at_a_time.write(0, PrefixReused(loaded=["a"], blocks=[10]), pid=200)
    two_at_a_time.damage(0)
    two_at_a_time.hits(1, "a")
    of_lookups = Logged("lookup_miss")
    of_lookups.loads(0, "a")
    of_lookups.fire(0)
    return [
        *(nameless, unknown_block, no_load, full, early),
        *(of_an_earlier_version, two_at_a_time, of_lookups),
    ]


@pytest.mark.parametrize("number", range(8))
def test_incomplete_provenance_log_leaves_affected_requests_unknown(number: int) -> None:
    assert undecided()[number].affected() is None


def damaged() -> Logged:
    """A run in which the load of the second request is damaged; all prompts share their first block."""
    log = Logged()
    log.loads(1, "a", "b")
    log.damage(1)
    log.write(1, LoadCached())
    log.hits(2, "a", "b")
    log.loaded(3, "a", "b")
    for number in range(len(log.run.requests)):
        log.run.change_request(number, first_block="a")
    return log


def test_wrong_answers_of_affected_requests_are_explained() -> None:
    log = damaged()
    differ(log.run, 1)
    differ(log.run, 2)
    log.log()
    judged = verdict(log.run)
    assert (judged.outcome, explained(judged)) == ("as expected", {NOT_GOLDEN: 2})


def test_wrong_answer_from_sound_blocks_is_a_second_cause() -> None:
    log = damaged()
    differ(log.run, 1)
    other = differ(log.run, 3)
    assert verdict(log.run).outcome == "as expected", "without the log it shares the first block"
    log.log()
    judged = verdict(log.run)
    assert (judged.outcome, explained(judged)) == ("not as expected", {NOT_GOLDEN: 1})
    finding = finding_of(blast.judge(log.run.history()), "blast-radius/bystander-wrong-answer")
    assert finding.request == other
    assert blast.READ_NOTHING in finding.text


def test_wrong_answer_without_loads_is_a_second_cause() -> None:
    log = damaged()
    differ(log.run, 1)
    other = differ(log.run, 0)
    log.log()
    assert verdict(log.run).outcome == "not as expected"
    finding = finding_of(blast.judge(log.run.history()), "blast-radius/bystander-wrong-answer")
    assert finding.request == other


def test_affected_requests_are_no_bystanders() -> None:
    log = damaged()
    differ(log.run, 1)
    differ(log.run, 2)
    log.log()
    result = blast.judge(log.run.history())
    assert result.verdict is Verdict.PASS
    assert (result.figures["affected"], result.figures["affected_different"]) == (2, 2)


def test_unread_damage_requires_no_wrong_answer_and_is_not_effective() -> None:
    log = Logged()
    log.stores(1, "a", chunk=5)
    log.spoil(1, 5)
    assert verdict(log.run).outcome == "not as expected", "without the log somebody may have read it"
    log.log()
    judged = verdict(log.run)
    assert (judged.outcome, judged.effects) == ("unknown", [])
    result = next(result for result in judged.results if result.oracle == "faults-fired")
    assert "faults-fired/damage-not-read" in {gap.kind for gap in result.gaps}


def test_wrong_answer_of_an_unaffected_request_is_no_evidence() -> None:
    log = damaged()
    differ(log.run, 3)
    log.log()
    result = next(result for result in verdict(log.run).results if result.oracle == "faults-fired")
    assert "faults-fired/no-damage-shown" in {gap.kind for gap in result.gaps}


def test_an_answer_that_is_compared_with_a_damaged_one_may_differ_from_it() -> None:
    log = damaged()
    prompt = "sent twice, never golden"
    for index in (1, 3):
        log.run.change_request(log.first + index, prompt_id=prompt)
        differ(log.run, index)
    log.log()
    different = answer_comparison.compared(log.run.history()).different
    assert [comparison.record.id for comparison in different] == [log.id(3)]
    judged = verdict(log.run)
    assert explained(judged) == {"answers/not-repeated": 1}
