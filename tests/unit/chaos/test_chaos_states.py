"""A fault for requests in one state must strike those, count those, and no other."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.request_states import ATTRIBUTE, AbortedRequest, ReportedStates, RequestStates
from chaos.inside.trigger_decisions import expected_firings
from history.protocol.evidence import CopyDelayed
from history.protocol.schedule import State, Trigger
from tests.support.control_directory import Room, entry, schedule, wait_until


@dataclass
class Request:
    """What is looked at of vLLM's request."""

    request_id: str
    status_name: str = "WAITING"
    num_computed_tokens: int = 0
    num_prompt_tokens: int = 100
    num_output_tokens: int = 0

    @property
    def status(self) -> Any:
        return SimpleNamespace(name=self.status_name)

    def is_finished(self) -> bool:
        return self.status_name.startswith("FINISHED")


@dataclass
class Metadata:
    """Of a step, from 0.21 on."""

    load_jobs: dict[int, Any] = field(default_factory=dict)
    store_jobs: dict[int, Any] = field(default_factory=dict)


@dataclass
class OldMetadata:
    """Of a step, to 0.20."""

    reqs_to_load: dict[str, Any] = field(default_factory=dict)
    reqs_to_store: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    req_id: str


def output(*jobs: int, received: tuple[str, ...] = (), sent: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        finished_recving=set(received),
        finished_sending=set(sent),
        kv_connector_worker_meta=SimpleNamespace(completed_jobs=dict.fromkeys(jobs, 1)) if jobs else None,
    )


@pytest.fixture
def states() -> RequestStates:
    return RequestStates()


@pytest.mark.parametrize(
    ("status", "computed", "state"),
    [
        ("WAITING", 0, ("queued",)),
        ("PREEMPTED", 0, ("queued",)),
        ("WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR", 0, ("queued",)),
        ("WAITING_FOR_REMOTE_KVS", 64, ("loading",)),
        ("RUNNING", 0, ("prefill",)),
        ("RUNNING", 99, ("prefill",)),
        ("RUNNING", 100, ("decode",)),
        ("RUNNING", 140, ("decode",)),
        ("FINISHED_LENGTH_CAPPED", 140, ()),
        ("FINISHED_ABORTED", 10, ()),
    ],
)
def test_a_request_is_in_the_state_that_vllm_has_it_in(
    states: RequestStates, status: str, computed: int, state: tuple[str, ...]
) -> None:
    states.track(Request("a", status, computed))
    assert states.of("a") == state


def test_unknown_request_has_no_state(states: RequestStates) -> None:
    assert states.of("a") == ()


def test_state_is_current_and_not_that_at_admission(states: RequestStates) -> None:
    request = Request("a")
    states.track(request)
    request.status_name, request.num_computed_tokens = "RUNNING", 32
    assert states.of("a") == ("prefill",)
    request.status_name, request.num_computed_tokens = "PREEMPTED", 0
    assert states.of("a") == ("queued",)


def test_storing_state_is_added_until_the_store_ended(states: RequestStates) -> None:
    states.track(Request("a", "RUNNING", 120))
    states.track(Request("b", "RUNNING", 120))
    states.step(Metadata(store_jobs={5: Job("a"), 6: Job("a")}), (), ())
    assert (states.of("a"), states.of("b")) == (("decode", "storing"), ("decode",))
    states.report(output(5))
    assert states.of("a") == ("decode", "storing")
    states.report(output(6))
    assert states.of("a") == ("decode",)


def test_a_store_outlives_its_request(states: RequestStates) -> None:
    states.track(Request("a", "RUNNING", 120))
    states.step(Metadata(store_jobs={5: Job("a")}), (), ())
    states.step(Metadata(), ("a",), ())
    assert states.of("a") == ("storing",)
    states.report(output(5))
    assert states.of("a") == ()


def test_loading_request_is_not_storing(states: RequestStates) -> None:
    states.track(Request("a", "WAITING_FOR_REMOTE_KVS", 64))
    states.step(Metadata(load_jobs={5: Job("a")}), (), ())
    assert states.of("a") == ("loading",)


def test_to_0_20_stores_have_ended_when_they_are_reported_or_the_request_is_preempted(
    states: RequestStates,
) -> None:
    for request in ("a", "b"):
        states.track(Request(request, "RUNNING", 120))
    states.step(OldMetadata(reqs_to_store={"a": (), "b": ()}), (), ())
    states.report(output(sent=("a",)))
    assert (states.of("a"), states.of("b")) == (("decode",), ("decode", "storing"))
    states.step(OldMetadata(), (), ("b",))
    assert states.of("b") == ("decode",)


@pytest.mark.parametrize(
    ("computed", "loading", "state"),
    [(0, False, "queued"), (64, True, "loading"), (99, False, "prefill"), (100, False, "decode")],
)
def test_aborted_request_records_its_state(
    states: RequestStates, computed: int, loading: bool, state: State
) -> None:
    request = Request("a", "RUNNING", computed, num_output_tokens=3)
    states.track(request)
    if loading:
        states.step(Metadata(load_jobs={5: Job("a")}), (), ())
    request.status_name = "FINISHED_ABORTED"
    assert list(states.aborted({"a"})) == [AbortedRequest("a", state, computed, 3)]


def test_request_aborted_before_admission_was_queued(states: RequestStates) -> None:
    assert list(states.aborted({"b", "a"})) == [AbortedRequest(name, "queued", 0, 0) for name in ("a", "b")]


def test_finished_request_is_not_recorded_as_aborted(states: RequestStates) -> None:
    states.track(Request("a", "FINISHED_LENGTH_CAPPED", 140))
    assert list(states.aborted({"a"})) == []


def test_worker_receives_states_of_copying_requests_only(
    states: RequestStates,
) -> None:
    for request in ("a", "b", "c"):
        states.track(Request(request, "RUNNING", 10))
    states.track(Request("d", "WAITING_FOR_REMOTE_KVS", 64))
    states.step(Metadata(store_jobs={5: Job("a")}, load_jobs={6: Job("d")}), (), ())
    assert states.of_transfers() == {"a": ("prefill", "storing"), "d": ("loading",)}
    states.report(output(5, 6, received=("d",)))
    assert states.of_transfers() == {}


def test_worker_in_another_process_receives_scheduler_states() -> None:
    metadata = Metadata()
    setattr(metadata, ATTRIBUTE, {"a": ("decode", "storing")})
    reported = ReportedStates()
    reported.learn(pickle.loads(pickle.dumps(metadata)))
    assert reported.of("a") == ("decode", "storing")


def test_copy_direction_adds_the_loading_or_storing_state() -> None:
    metadata = Metadata()
    setattr(metadata, ATTRIBUTE, {"a": ("decode",)})
    reported = ReportedStates()
    reported.learn(metadata)
    assert reported.of("a", "store") == ("decode", "storing")
    assert reported.of("gone", "store") == ("storing",)
    assert reported.of("gone", "load") == ("loading",)


def test_worker_without_reported_states_has_none() -> None:
    metadata = Metadata()
    setattr(metadata, ATTRIBUTE, {"a": ("decode",)})
    reported = ReportedStates()
    reported.learn(metadata)
    reported.learn(Metadata())
    assert reported.of("a", "store") == ()


# --- the engine ----------------------------------------------------------------------------------------


@dataclass
class Known:
    """States of requests, to be changed between arrivals."""

    now: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: int = 0

    def __call__(self, request: str, direction: str | None = None) -> tuple[str, ...]:
        self.calls += 1
        return self.now.get(request, ())


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path / "control") as made:
        yield made


@pytest.fixture
def known() -> Known:
    return Known({"a": ("decode", "storing"), "b": ("queued",)})


@pytest.fixture
def engine(room: Room, known: Known) -> FaultRuntime:
    return room.start("worker", known)


ARRIVALS = ("a", "b", "a", "c", "b", "a", "a", "z", "b")
"""a decodes and stores, b waits, the others are unknown."""


def arrive(engine: FaultRuntime) -> list[str]:
    """The requests that were struck, of those of ARRIVALS."""
    struck = []
    for request in ARRIVALS:
        strike = engine.evaluate("copy_delay", request=request, direction="load")
        if strike is not None:
            strike.fired(CopyDelayed(job=1, direction="load", ms=1.0))
            struck.append(request)
    return struck


def test_only_invocations_in_the_state_are_struck(engine: FaultRuntime, room: Room) -> None:
    room.arm(entry("choosy", "copy_delay", {"every": 1, "states": ["queued", "loading"]}))
    assert arrive(engine) == ["b", "b", "b"]


def test_trigger_counts_only_invocations_in_its_states(engine: FaultRuntime, room: Room) -> None:
    trigger = Trigger(every=2, offset=1, states=("decode",))
    room.arm(entry("choosy", "copy_delay", {"every": 2, "offset": 1, "states": ["decode"]}))
    arrive(engine)
    [healed] = room.heal(["choosy"])
    assert healed.n == ARRIVALS.count("a") == 4
    numbers = [line.n for line in room.events("fired")]
    assert numbers == list(expected_firings(trigger, 7, "choosy", "copy", 4)) == [1, 3]


def test_fault_with_states_leaves_other_invocations_to_other_faults(engine: FaultRuntime, room: Room) -> None:
    room.arm(
        entry("choosy", "copy_delay", {"nth": [0], "states": ["queued"]}),
        entry("any", "copy_delay", {"nth": [2]}),
    )
    assert arrive(engine) == ["b", "a"]
    assert [(line.fault, line.n) for line in room.events("fired")] == [("choosy", 0), ("any", 2)]


def test_firing_evidence_names_the_known_states(engine: FaultRuntime, room: Room) -> None:
    room.arm(entry("any", "copy_delay", {"nth": [0, 3]}))
    arrive(engine)
    assert [line.states for line in room.events("fired")] == [["decode", "storing"], None]


def test_states_are_not_queried_unless_an_armed_fault_uses_them(
    engine: FaultRuntime, room: Room, known: Known
) -> None:
    room.arm(entry("other", "zero_block", {"every": 1, "states": ["decode"]}))
    arrive(engine)
    assert known.calls == 0


def test_scheduler_sends_states_only_for_armed_worker_faults_with_states(room: Room) -> None:
    scheduler = room.start("scheduler")
    room.arm(entry("mine", "lookup_miss", {"every": 1, "states": ["queued"]}))
    assert not scheduler.worker_needs_states
    room.put(schedule(entry("its", "zero_block", {"every": 1, "states": ["decode"]})))
    wait_until(lambda: scheduler.worker_needs_states, "the scheduler has seen the worker's fault")
    room.put(schedule(entry("its", "zero_block")))
    wait_until(lambda: not scheduler.worker_needs_states, "states are minded no more")
