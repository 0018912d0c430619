"""Events may wait a while to be taken in, but whatever ends a request early finds all of them recorded."""

from __future__ import annotations

import dataclasses

import gevent
import pytest

from history.scenario import ClientKind
from loadtests.clients.completion_clients import CLIENTS
from loadtests.clients.completion_request import Job
from loadtests.connections import event_poller
from loadtests.connections.event_poller import EventPoller
from loadtests.workloads.workload import Abort, Prompt
from tests.fakes.notes import Notes
from tests.fakes.openai_server import Behaviour, FakeServer, answer_tokens

PROMPT = Prompt(prompt_id="w-1", token_ids=(65, 66, 67), max_tokens=5)
JOB = Job(id="chaos-1", prompt=PROMPT, phase="chaos", worker=0, scheduled_ns=0)
TOKENS = answer_tokens([65, 66, 67], 5)
EARLY_S = 0.5
LATE_S = 60.0


@pytest.mark.parametrize("kind", list(CLIENTS))
@pytest.mark.parametrize(
    ("deadline_s", "abort", "end"),
    [
        pytest.param(EARLY_S, None, ("error", "DeadlineExceeded"), id="deadline"),
        pytest.param(LATE_S, Abort(after_s=EARLY_S), ("aborted", "Abandoned"), id="given up"),
        pytest.param(LATE_S, None, ("aborted", "StoppedEarly"), id="killed"),
    ],
)
def test_interrupted_request_records_its_received_tokens(
    kind: ClientKind,
    deadline_s: float,
    abort: Abort | None,
    end: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_poller, "PATIENCE_S", LATE_S)
    notes = Notes()
    job = dataclasses.replace(JOB, prompt=dataclasses.replace(PROMPT, abort=abort))
    with FakeServer(Behaviour(shape="stall", after=3, token_s=0.005)) as server:
        client = CLIENTS[kind](server.url, "tiny", deadline_s=deadline_s)
        request = gevent.spawn(client.complete, job, notes)
        gevent.sleep(EARLY_S)
        if end[1] == "StoppedEarly":
            request.kill()
        request.join()
        client.close()
    (record,) = notes.records
    assert record.error is not None
    assert (record.outcome, record.error.kind) == end
    assert record.token_ids == TOKENS[:3]
    assert record.end_us < LATE_S * 1e6


@pytest.mark.parametrize("kind", list(CLIENTS))
def test_kill_after_a_complete_answer_keeps_it_and_ends_the_user(
    kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    went_on: list[str] = []

    def user() -> None:
        client.complete(JOB, notes)
        went_on.append("to the next request")

    # Nobody wakes the reader but the kill.
    monkeypatch.setattr(EventPoller, "soon", lambda *_: None)
    with FakeServer() as server:
        client = CLIENTS[kind](server.url, "tiny", deadline_s=LATE_S)
        request = gevent.spawn(user)
        gevent.sleep(EARLY_S)
        request.kill()
        client.close()
    (record,) = notes.records
    assert (record.outcome, record.token_ids) == ("ok", TOKENS)
    assert went_on == []


@pytest.mark.parametrize("kind", list(CLIENTS))
def test_interrupt_of_a_request_does_not_reach_the_next_one(
    kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    with FakeServer() as server:
        client = CLIENTS[kind](server.url, "tiny", deadline_s=EARLY_S)
        with monkeypatch.context() as asleep:
            # Nobody wakes the reader but the deadline, which finds a whole answer.
            asleep.setattr(EventPoller, "soon", lambda *_: None)
            client.complete(JOB, notes)
        client.complete(JOB, notes)
        client.close()
    assert [record.outcome for record in notes.records] == ["ok", "ok"]
