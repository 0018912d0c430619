"""A turn that is sent before the answer it builds on, or by another worker, is not a conversation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from history.records import RequestRecord
from history.scenario import Param
from tests.fakes.openai_server import Behaviour, FakeServer, ReceivedRequest, Shape
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, wait_for, write_plan

CHAT: dict[str, Param] = {
    "conversations": 6,
    "turns": 3,
    "system_tokens": 8,
    "user_tokens": 8,
    "min_think_s": 0.05,
    "max_think_s": 0.1,
    "min_output": 3,
    "max_output": 6,
}
AGENT: dict[str, Param] = {"agents": 4, "steps": 3, "burst": 3, "burst_every": 2, "max_tool_s": 0.05}
LEAVERS: dict[str, Param] = {
    "prefixes": 2,
    "prompts": 4,
    "prefix_tokens": 8,
    "queued_share": 1.0,
    "queued_ms": 200.0,
    "prefill_ms": 200.0,
    "prefill_share": 0.0,
    "answer_share": 0.0,
}


def play(
    folder: Path,
    server: FakeServer,
    kind: str,
    params: dict[str, Param],
    *,
    requests: int,
    workers: int = 1,
    concurrency: int = 3,
    first: int = 0,
) -> list[RequestRecord]:
    """All records of one phase, in the order of their indices."""
    plan = write_plan(folder, server.url, kind=kind, params=params)
    with loaders(folder, plan, workers) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=requests, concurrency=concurrency, first=first))
        assert load.wait_done(PATIENCE_S)
        assert load.failures() == []
    return sorted(records(folder), key=lambda record: int(record.id.removeprefix("load-")))


def end_ns(record: RequestRecord) -> int:
    return record.start_mono_ns + record.end_us * 1000


def test_each_turn_waits_for_and_contains_the_real_answer(tmp_path: Path) -> None:
    with FakeServer() as server:
        found = play(tmp_path, server, "chat", CHAT, requests=18)
    prompts = {request.headers["x-request-id"]: request.body["prompt"] for request in server.received}
    assert len(found) == 18
    for begin in range(0, 18, 3):
        for before, after in zip(found[begin:], found[begin + 1 : begin + 3], strict=False):
            history = prompts[before.id] + before.token_ids
            assert prompts[after.id][: len(history)] == history
            assert after.start_mono_ns - end_ns(before) >= 50_000_000


def test_turn_is_due_after_the_think_time(tmp_path: Path) -> None:
    with FakeServer() as server:
        found = play(tmp_path, server, "chat", CHAT, requests=3)
    for before, after in pairwise(found):
        ended_ns = before.start_ns + before.end_us * 1000
        assert after.scheduled_ns - ended_ns >= 50_000_000
        assert after.start_ns >= after.scheduled_ns


def test_conversations_are_identical_for_one_and_four_workers(tmp_path: Path) -> None:
    found = {}
    for workers in (1, 4):
        folder = tmp_path / str(workers)
        folder.mkdir()
        with FakeServer() as server:
            found[workers] = play(
                folder, server, "agent_loop", AGENT, requests=20, workers=workers, concurrency=4
            )
    assert [record.prompt_id for record in found[1]] == [record.prompt_id for record in found[4]]
    assert {record.worker for record in found[4]} == {0, 1, 2, 3}
    # A conversation of 1 + 3 + 1 requests stays with its worker.
    assert all(len({record.worker for record in found[4][at : at + 5]}) == 1 for at in range(0, 20, 5))


def test_requests_of_a_burst_are_sent_at_once(tmp_path: Path) -> None:
    def release_when_three_wait(request: ReceivedRequest) -> Behaviour:
        if request.headers["x-request-id"] in ("load-1", "load-2", "load-3"):
            wait_for(lambda: len(server.received) == 4)
        return Behaviour()

    with FakeServer(release_when_three_wait) as server:
        found = play(tmp_path, server, "agent_loop", AGENT, requests=5, concurrency=1)
    assert [record.outcome for record in found] == ["ok"] * 5
    assert len({record.scheduled_ns for record in found[1:4]}) == 1


def test_conversation_ends_at_a_missing_answer(tmp_path: Path) -> None:
    def fail_the_second(request: ReceivedRequest) -> Behaviour:
        return Behaviour(shape="server_error" if request.headers["x-request-id"] == "load-1" else "normal")

    with FakeServer(fail_the_second) as server:
        found = play(tmp_path, server, "chat", CHAT, requests=6)
    assert [record.id for record in found] == ["load-0", "load-1", "load-3", "load-4", "load-5"]


def test_stop_ends_the_think_time(tmp_path: Path) -> None:
    slow = {**CHAT, "min_think_s": 500.0, "max_think_s": 500.0}
    with FakeServer() as server:
        plan = write_plan(tmp_path, server.url, kind="chat", params=slow)
        with loaders(tmp_path, plan) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase(requests=3, concurrency=1))
            wait_for(lambda: load.progress().ok == 1)
            load.stop_phase("measured")
            assert load.wait_done(PATIENCE_S)
    assert [record.outcome for record in records(tmp_path)] == ["ok"]


def test_a_stop_in_a_burst_records_every_request_of_it(tmp_path: Path) -> None:
    def stall_the_burst(request: ReceivedRequest) -> Behaviour:
        return Behaviour(shape="normal" if request.headers["x-request-id"] == "load-0" else "stall")

    with FakeServer(stall_the_burst) as server:
        plan = write_plan(tmp_path, server.url, kind="agent_loop", params=AGENT)
        with loaders(tmp_path, plan) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase(requests=5, concurrency=1))
            wait_for(lambda: len(server.received) == 4)
            load.stop_phase("measured")
            assert load.wait_done(PATIENCE_S)
            counts = load.progress()
    assert sorted(record.outcome for record in records(tmp_path)) == ["aborted"] * 3 + ["ok"]
    assert (counts.sent, counts.aborted, counts.in_flight) == (4, 3, 0)


@pytest.mark.parametrize("shape", ["silent", "stall"])
def test_client_aborts_after_its_delay(tmp_path: Path, shape: Shape) -> None:
    with FakeServer(Behaviour(shape=shape)) as server:
        found = play(tmp_path, server, "abort_mix", LEAVERS, requests=8, first=4)
    assert [record.outcome for record in found] == ["aborted"] * 8
    assert {record.error.kind for record in found if record.error} == {"Abandoned"}
    assert all(record.end_us < 30_000_000 for record in found)
