"""The wrapped manager is vLLM's manager until a fault is armed, and again when it is healed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from chaos.inside.fault_kind import SCHEDULER
from chaos.inside.fault_runtime import FaultRuntime
from tests.server.contract.bench import CHUNKS, Bench
from tests.server.contract.control import control_room
from tests.server.contract.shapes.managers import Tier

KEYS = [bytes([number]) * 32 for number in range(10)]
STEPS = 3_000
OPERATIONS = {
    *("lookup", "touch", "prepare_load", "complete_load", "prepare_store", "complete_store", "take_events")
}


class Script:
    """A random sequence of the operations that the scheduler may do, the same for two tiers."""

    def __init__(self, seed: int, *tiers: Tier) -> None:
        self._random = random.Random(seed)
        self._tiers = tiers
        self._storing: list[Sequence[bytes]] = []
        self._loading: list[Sequence[bytes]] = []
        self._endings = [self._end_request] if tiers[0].receives_requests else []

    def step(self) -> str:
        """One operation on each tier; what was done. Raises AssertionError when the answers differ."""
        choices = [self._lookup, self._prepare_store, self._touch, self._events, self._prepare_load]
        choices += [self._complete_store] * 2 if self._storing else []
        choices += [self._complete_load] * 2 if self._loading else self._endings
        done, answers = self._random.choice(choices)()
        assert all(answer == answers[0] for answer in answers), f"{done}: {answers}"
        states = [list(tier.references().items()) for tier in self._tiers]
        assert all(state == states[0] for state in states), f"after {done}: {states}"
        return done

    def _some(self) -> list[bytes]:
        start = self._random.randrange(len(KEYS))
        return KEYS[start : start + self._random.randint(1, 4)]

    def _lookup(self) -> tuple[str, list[object]]:
        keys = self._some()
        return "lookup", [tier.lookup(keys) for tier in self._tiers]

    def _touch(self) -> tuple[str, list[object]]:
        keys = self._some()
        for tier in self._tiers:
            tier.touch(keys)
        return "touch", []

    def _events(self) -> tuple[str, list[object]]:
        return "take_events", [tier.events() for tier in self._tiers]

    def _end_request(self) -> tuple[str, list[object]]:
        return "end_request", [tier.end_request() for tier in self._tiers]

    def _prepare_store(self) -> tuple[str, list[object]]:
        keys = self._some()
        answers = [tier.prepare_store(keys) for tier in self._tiers]
        if answers[0] is not None and answers[0][0]:
            self._storing.append(answers[0][0])
        return "prepare_store", [*answers]

    def _complete_store(self) -> tuple[str, list[object]]:
        keys = self._storing.pop(self._random.randrange(len(self._storing)))
        success = self._random.random() < 0.8
        for tier in self._tiers:
            tier.complete_store(keys, success=success)
        return "complete_store", []

    def _prepare_load(self) -> tuple[str, list[object]]:
        keys = self._some()
        hits = self._tiers[0].lookup(keys) or 0
        for tier in self._tiers[1:]:
            tier.lookup(keys)
        if hits == 0:
            return "lookup", []
        self._loading.append(keys[:hits])
        return "prepare_load", [tier.prepare_load(keys[:hits]) for tier in self._tiers]

    def _complete_load(self) -> tuple[str, list[object]]:
        keys = self._loading.pop(self._random.randrange(len(self._loading)))
        for tier in self._tiers:
            tier.complete_load(keys)
        return "complete_load", []


def fill(tier: Tier, keys: Sequence[bytes]) -> None:
    """Store these keys. Raises AssertionError when the tier refuses."""
    stored = tier.prepare_store(keys)
    assert stored is not None, "the tier refused"
    assert stored[0] == list(keys)
    tier.complete_store(keys, success=True)


def manager_answers_as_vllm_when_nothing_is_armed(bench: Bench) -> None:
    for seed in range(3):
        with control_room() as control:
            bare, wrapped = bench.tier(CHUNKS, None), bench.tier(CHUNKS, control.path)
            assert isinstance(wrapped.manager, bench.chaos_manager)
            assert not isinstance(bare.manager, bench.chaos_manager)
            script = Script(seed, bare, wrapped)
            done = [script.step() for _ in range(STEPS)]
            optional = {"end_request"} if bare.receives_requests else set()
            assert set(done) == OPERATIONS | optional, f"the script is too narrow: {sorted(set(done))}"
            assert [line["event"] for line in control.lines()] == ["loaded"]


def manager_answers_as_vllm_again_when_healed(bench: Bench) -> None:
    with control_room() as control:
        bare, wrapped = bench.tier(CHUNKS, None), bench.tier(CHUNKS, control.path)
        for kind in ("lookup_miss", "store_refused"):
            control.arm(kind)
            if kind == "store_refused":
                assert wrapped.prepare_store(KEYS[:1]) is None
            control.heal()
        script = Script(99, bare, wrapped)
        for _ in range(500):
            script.step()


def manager_makes_no_further_calls_of_vllm_when_nothing_is_armed(bench: Bench) -> None:
    # A look-up more than vLLM's scheduler makes can count (reuse filters do) and costs time.
    with control_room() as control:
        calls: list[str] = []
        tier = bench.counting_tier(FaultRuntime(SCHEDULER, control.path, bench.name), calls)
        calls.clear()
        fill(tier, KEYS[:3])
        assert calls == ["prepare_store", "complete_store"], calls


def lookup_miss_hides_blocks_and_records_it(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:4])
        control.arm("lookup_miss", {"nth": [2]})
        assert tier.lookup(KEYS[:4]) == 2
        assert tier.lookup(KEYS[:4]) == 4
        [line] = [line for line in control.lines() if line["event"] == "fired"]
        assert (line["fault"], line["kind"], line["site"], line["n"]) == ("f1", "lookup_miss", "lookup", 2)
        assert line["evidence"]["key"].startswith(KEYS[2].hex())
        assert line["evidence"]["answered_blocks"] < line["evidence"]["hit_blocks"]
        assert set(tier.references().values()) == {0}, "the blocks are still there"


def lookup_miss_counts_only_blocks_that_would_hit(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:2])
        control.arm("lookup_miss", {"nth": [0]})
        assert tier.lookup(KEYS[5:8]) == 0
        assert control.fired() == []
        assert tier.lookup(KEYS[:2]) == 0
        assert len(control.fired()) == 1
        healed = control.heal()
        assert healed["evidence"]["fired"] == 1
        assert tier.lookup(KEYS[:2]) == 2


def store_refused_needs_a_new_block(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:2])
        assert tier.prepare_store(KEYS[2:3]) is not None
        control.arm("store_refused")
        for known in (KEYS[:2], KEYS[2:3], KEYS[:3], []):
            stored = tier.prepare_store(known)
            assert stored is not None, f"refused although nothing in it is new: {known}"
            assert stored[0] == []
        assert control.fired() == []
        assert tier.prepare_store(KEYS[1:5]) is None
        [proof] = control.fired()
        assert proof["blocks"] == 2
        assert proof["key"].startswith(KEYS[3].hex())


def store_refused_leaves_no_trace_in_the_manager(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:4])
        before = tier.references()
        list(tier.events())
        control.arm("store_refused", {"every": 1, "limit": 3})
        for _ in range(3):
            assert tier.prepare_store(KEYS[4:6]) is None
        assert tier.references() == before
        assert tier.events() == []
        control.heal()
        # As many as fit, so that a chunk that was lost would show.
        new = KEYS[4 : 4 + CHUNKS]
        fill(tier, new)
        assert sorted(tier.prepare_load(new)) == list(range(CHUNKS))
        tier.complete_load(new)
        assert set(tier.references().values()) == {0}


def a_block_evicted_while_armed_is_new_again(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        fill(tier, KEYS[:CHUNKS])
        fill(tier, KEYS[CHUNKS : CHUNKS + 2])
        control.arm("store_refused", {"nth": [0]})
        assert tier.prepare_store(KEYS[:1]) is None
        fill(tier, KEYS[:1])


def a_failed_store_makes_its_blocks_new_again(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        assert tier.prepare_store(KEYS[:2]) is not None
        tier.complete_store(KEYS[:2], success=False)
        control.arm("store_refused", {"nth": [0]})
        assert tier.prepare_store(KEYS[:2]) is None
        assert control.fired()[0]["blocks"] == 2


CHECKS = (
    manager_answers_as_vllm_when_nothing_is_armed,
    manager_answers_as_vllm_again_when_healed,
    manager_makes_no_further_calls_of_vllm_when_nothing_is_armed,
    lookup_miss_hides_blocks_and_records_it,
    lookup_miss_counts_only_blocks_that_would_hit,
    store_refused_needs_a_new_block,
    store_refused_leaves_no_trace_in_the_manager,
    a_block_evicted_while_armed_is_new_again,
    a_failed_store_makes_its_blocks_new_again,
)
