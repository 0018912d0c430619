"""A crowd asks as clients do, leaves in one go, and a record of each of its requests stays."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from chaos.outside.completion_stream import CompletionStreamParser, NoCompletion
from chaos.outside.injector import CLIENT, ActiveFault, DueInjection, InjectionRefused
from chaos.outside.outside_kinds import TargetInjector
from chaos.outside.raw_requests import ClientTarget
from history.protocol.outside import AbortStorm, ClientsLeft
from history.protocol.schedule import Value
from history.records import CROWD, RequestRecord
from tests.fakes.openai_server import ENGINE_DEAD, TOO_LONG, Behaviour, FakeServer, answer_tokens
from tests.support.fake_server_runs import wait_for

BLOCK = 32
PARAMS: dict[str, Value] = {
    "trigger_on": "answered",
    "clients": 6,
    "prompt_tokens": 40,
    "max_tokens": 200,
    "duration_s": 0.4,
}
STEADY = Behaviour(token_s=0.02)
UNUSED_PORT = 9
"""A port, where none is asked."""


def strike(n: int = 3, seed: int = 1, **changed: float) -> DueInjection:
    return DueInjection("f1", "abort_storm", "answered", n, {**PARAMS, **changed}, seed)


def prepare(port: int, folder: Path, wanted: DueInjection) -> ActiveFault:
    target = ClientTarget(port, "tiny", 768, BLOCK, folder / "requests-crowd.jsonl")
    return TargetInjector(CLIENT, target).prepare(wanted)


def port_of(server: FakeServer) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def shown(storm: ActiveFault) -> AbortStorm:
    found: list[AbortStorm] = []

    def poll_evidence() -> bool:
        proof = storm.verify()
        if isinstance(proof, AbortStorm):
            found.append(proof)
        return proof is not None

    wait_for(poll_evidence)
    return found[0]


def stored_records(folder: Path) -> list[RequestRecord]:
    lines = (folder / "requests-crowd.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=RequestRecord) for line in lines]


def struck(port: int, folder: Path, wanted: DueInjection) -> tuple[AbortStorm, list[RequestRecord]]:
    """A whole strike."""
    storm = prepare(port, folder, wanted)
    storm.apply()
    return shown(storm), stored_records(folder)


def crowd_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "crowd"]


def test_all_crowd_clients_abort_together_mid_answer(tmp_path: Path) -> None:
    with FakeServer(STEADY) as server:
        evidence, records = struck(port_of(server), tmp_path, strike())
    assert (evidence.clients, evidence.sent, evidence.begun, evidence.answered) == (6, 6, 6, 0)
    assert evidence.requests == [record.id for record in records]
    ends = [record.start_ns + record.end_us * 1000 for record in records]
    assert max(ends) - min(ends) < 100_000_000
    for record in records:
        assert record.outcome == "aborted"
        assert record.error is not None
        assert record.error.kind == "Abandoned"
        assert 350_000 <= record.end_us < 2_000_000
        assert 0 < len(record.token_ids) < 200
        assert len(record.logprobs) == len(record.token_ids) == sum(record.chunk_tokens)
        assert record.first_us == record.chunk_us[0]


def test_server_receives_each_client_disconnect(tmp_path: Path) -> None:
    ended: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def read_to_end(connection: socket.socket) -> None:
            with connection:
                while connection.recv(65536):
                    pass
                ended.append("hung up")

        def serve() -> None:
            for _ in range(6):
                threading.Thread(target=read_to_end, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        evidence, records = struck(listener.getsockname()[1], tmp_path, strike())
        wait_for(lambda: len(ended) == 6)
        thread.join()
    assert evidence.begun == 0
    assert {(record.outcome, record.status) for record in records} == {("aborted", None)}


def test_crowd_uses_one_thread_that_ends_with_it(tmp_path: Path) -> None:
    with FakeServer(STEADY) as server:
        storm = prepare(port_of(server), tmp_path, strike())
        storm.apply()
        wait_for(lambda: len(server.received) == 6)
        assert len(crowd_threads()) == 1
        shown(storm)
    assert crowd_threads() == []


def test_revert_aborts_the_crowd_early(tmp_path: Path) -> None:
    with FakeServer(STEADY) as server:
        storm = prepare(port_of(server), tmp_path, strike(duration_s=60.0))
        storm.apply()
        wait_for(lambda: len(server.received) == 6)
        assert storm.verify() is None
        storm.revert()
        began = time.monotonic()
        shown(storm)
    assert time.monotonic() - began < 30.0


def test_crowd_reverts_only_after_its_evidence_was_collected(tmp_path: Path) -> None:
    with FakeServer(STEADY) as server:
        storm = prepare(port_of(server), tmp_path, strike())
        storm.apply()
        wait_for(lambda: not crowd_threads())
        assert storm.reverted() is None
        storm.verify()
        assert storm.reverted() == ClientsLeft(clients=6)
        storm.verify()
    assert len(stored_records(tmp_path)) == 6


def test_answers_completed_before_the_abort_are_recorded_complete(tmp_path: Path) -> None:
    with FakeServer() as server:
        evidence, records = struck(port_of(server), tmp_path, strike(duration_s=30.0, max_tokens=5))
        bodies = {received.headers["x-request-id"]: received.body for received in server.received}
    assert evidence.answered == 6
    for record in records:
        assert (record.outcome, record.status, record.finish_reason) == ("ok", 200, "length")
        assert list(record.token_ids) == answer_tokens(bodies[record.id]["prompt"], 5)
        assert record.usage is not None
        assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (40, 5)
        assert (record.prompt_tokens, record.max_tokens, record.phase) == (40, 5, CROWD)


def test_crowd_prompts_are_unique_and_seeded_by_the_strike(tmp_path: Path) -> None:
    prompts: list[dict[str, list[int]]] = []
    with FakeServer(Behaviour("silent")) as server:
        for wanted in (strike(), strike(), strike(seed=2), strike(n=4)):
            server.received.clear()
            _, records = struck(port_of(server), tmp_path, wanted)
            prompts.append(
                {received.headers["x-request-id"]: received.body["prompt"] for received in server.received}
            )
    first, again, other_seed, other_arrival = prompts
    assert first == again
    assert sorted(first) == [f"crowd-f1-3-{number}" for number in range(6)]
    assert {len(prompt) for prompt in first.values()} == {40}
    assert all(0 <= token < 256 for prompt in first.values() for token in prompt)
    every = [tuple(prompt[:BLOCK]) for one in (first, other_seed, other_arrival) for prompt in one.values()]
    assert len(set(every)) == 18
    known = {array("q", prompt[:BLOCK]).tobytes() for prompt in other_arrival.values()}
    hashes = {hashlib.blake2b(block, digest_size=6).hexdigest() for block in known}
    assert {record.first_block for record in records[-6:]} == hashes


def test_prompt_below_one_block_has_no_first_block(tmp_path: Path) -> None:
    with FakeServer() as server:
        _, records = struck(port_of(server), tmp_path, strike(prompt_tokens=BLOCK - 1, max_tokens=1))
    assert {record.first_block for record in records} == {None}


@pytest.mark.parametrize(
    ("behaviour", "kind", "status", "message"),
    [
        (Behaviour("bad_request"), "NoCompletion", 400, TOO_LONG),
        (Behaviour("server_error"), "NoCompletion", 500, ENGINE_DEAD),
        (Behaviour("cut"), "NoCompletion", 200, "2 tokens"),
        (Behaviour("truncated"), "NoCompletion", 200, "2 tokens"),
        (Behaviour("error_event"), "NoCompletion", 200, ENGINE_DEAD),
        (Behaviour("malformed"), "NoCompletion", 200, "completion"),
    ],
    ids=lambda value: value.shape if isinstance(value, Behaviour) else "",
)
def test_failed_crowd_request_is_recorded_as_failed(
    tmp_path: Path, behaviour: Behaviour, kind: str, status: int, message: str
) -> None:
    with FakeServer(behaviour) as server:
        _, records = struck(port_of(server), tmp_path, strike(duration_s=5.0))
    for record in records:
        assert record.outcome == "error"
        assert record.error is not None
        assert (record.error.kind, record.error.status) == (kind, status)
        assert message in record.error.message


def test_closed_connection_fails_the_crowd_requests(tmp_path: Path) -> None:
    with FakeServer(Behaviour("hang_up")) as server:
        _, records = struck(port_of(server), tmp_path, strike(duration_s=5.0))
    assert {(record.outcome, record.status) for record in records} == {("error", None)}


def test_refused_connection_fails_the_crowd_requests(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    evidence, records = struck(port, tmp_path, strike(duration_s=5.0))
    assert evidence.sent == 0
    # No name that the load has for it, so that a cut line, which is not theirs, excuses none of them.
    assert {record.error.kind for record in records if record.error} == {"ConnectionRefusedError"}
    assert {record.outcome for record in records} == {"error"}


def test_crowd_prompts_above_the_model_length_are_not_sent(tmp_path: Path) -> None:
    storm = prepare(UNUSED_PORT, tmp_path, strike(prompt_tokens=700))
    with pytest.raises(InjectionRefused, match=r"900 .* 768"):
        storm.apply()
    assert crowd_threads() == []


def test_strike_interrupted_by_a_signal_leaves_no_crowd(tmp_path: Path) -> None:
    storm = prepare(UNUSED_PORT, tmp_path, strike())
    storm.revert()
    assert shown(storm).requests == []
    assert stored_records(tmp_path) == []


def stream(*, chunked: bool) -> bytes:
    """A whole answer of two tokens, with a comment and an empty line between its events."""
    events = [
        b'data: {"choices": [{"token_ids": [7], "logprobs": {"token_logprobs": [-0.5]}}]}\n\n',
        b": still here\n\n",
        b'data: {"choices": [{"token_ids": [8], "logprobs": {"token_logprobs": [-0.25]}, '
        b'"finish_reason": "length"}]}\n\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n',
        b"data: [DONE]\n\n",
    ]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    if not chunked:
        return head + b"\r\n" + b"".join(events)
    # The borders of chunks are nobody's business: here they lie in mid-event.
    text = b"".join(events)
    parts = [text[at : at + 50] for at in range(0, len(text), 50)]
    body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (*parts, b""))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body


def by_the_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def in_one(data: bytes) -> list[bytes]:
    return [data]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("split", [by_the_byte, in_one])
def test_stream_is_parsed_in_any_fragmentation(split: Callable[[bytes], list[bytes]], chunked: bool) -> None:
    hearing = CompletionStreamParser()
    for at_us, data in enumerate(split(stream(chunked=chunked))):
        hearing.take(data, at_us)
    state = hearing.state
    hearing.end()
    assert state.whole
    assert (state.token_ids, state.logprobs, state.chunk_tokens) == ([7, 8], [-0.5, -0.25], [1, 1])
    assert state.chunk_us == sorted(state.chunk_us)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", stream(chunked=True).replace(b"32\r\n", b"xy\r\n", 1)]
)
def test_invalid_answer_is_no_completion(answer: bytes) -> None:
    with pytest.raises(NoCompletion):
        CompletionStreamParser().take(answer, 0)
