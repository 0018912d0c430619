"""The same seed gives the same load, byte for byte, however many processes share it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from history.phase_spec import Bursts, Closed, Gamma, Poisson
from history.scenario import WorkloadSpec
from loadtests.arrival_schedule import schedule
from tests.fakes.openai_server import FakeServer
from tests.support.joining_workers import joining
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, write_plan

WORKLOADS = {
    "mix": WorkloadSpec(kind="parameter_mix", params={"prompts": 8, "prefixes": 2, "prefix_tokens": 32}),
    "talk": WorkloadSpec(kind="chat", params={"turns": 3, "min_think_s": 0.0, "max_think_s": 0.05}),
    "cold": WorkloadSpec(kind="shared_prefix", params={"cold_share": 0.5, "lengths": "lognormal"}),
}
BURSTS = Bursts(kind="bursts", size=8, every_s=0.1)
PHASES = (
    phase("poisson", requests=24, concurrency=24, arrivals=Poisson(kind="poisson", rate=60), workload="mix"),
    phase("chats", requests=24, concurrency=8, workload="talk"),
    phase("gamma", requests=24, concurrency=24, arrivals=Gamma(kind="gamma", rate=60, burstiness=0.5)),
    phase("bursts", requests=24, concurrency=24, first=24, arrivals=BURSTS, workload="cold"),
)


@dataclass(frozen=True)
class Played:
    """One run of all phases."""

    bodies: dict[str, bytes]
    """What came over the wire, by request id."""
    due_ns: dict[str, int]
    """By request id: the time from the first of its phase. Of open loops only."""
    workers: set[int]


def play(folder: Path, workers: int, *, join: bool = False) -> Played:
    folder.mkdir()
    with FakeServer() as server:
        plan = write_plan(folder, server.url, workloads=WORKLOADS)
        with ExitStack() as stack:
            if join:
                load = stack.enter_context(joining(folder, plan, workers)).load
            else:
                load = stack.enter_context(loaders(folder, plan, workers))
            assert load.wait_ready(PATIENCE_S)
            for one in PHASES:
                load.start_phase(one)
                assert load.wait_done(PATIENCE_S)
        bodies = {received.headers["x-request-id"]: received.raw for received in server.received}
        assert len(bodies) == len(server.received)
    found = records(folder)
    due: dict[str, int] = {}
    for one in PHASES:
        if not isinstance(one.arrivals, Closed):
            own = {record.id: record.scheduled_ns for record in found if record.phase == one.name}
            first = own[f"{one.name}-{one.first}"]
            due |= {request: at - first for request, at in own.items()}
    return Played(bodies, due, {record.worker for record in found})


def test_load_is_identical_for_one_four_and_two_joined_workers(tmp_path: Path) -> None:
    alone, shared = play(tmp_path / "alone", 1), play(tmp_path / "shared", 4)
    joined = play(tmp_path / "joined", 2, join=True)
    assert (alone.workers, shared.workers, joined.workers) == ({0}, {0, 1, 2, 3}, {0, 1})
    assert len(alone.bodies) == sum(one.requests for one in PHASES)
    assert alone.bodies == shared.bodies == joined.bodies
    assert len(alone.due_ns) == 72
    assert alone.due_ns == shared.due_ns == joined.due_ns == planned()


def planned() -> dict[str, int]:
    """What the schedules say, made in this process."""
    due: dict[str, int] = {}
    for one in PHASES:
        times = schedule(one.arrivals, one.requests, seed=1, phase=one.name)
        if times is not None:
            due |= {f"{one.name}-{one.first + index}": int(at - times[0]) for index, at in enumerate(times)}
    return due
