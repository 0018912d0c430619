"""Every way a stream can end gives exactly one record with the right outcome; only a whole answer is ok."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

import msgspec
import pytest

from history.records import RequestRecord, Usage
from loadtests.client import CompletionClient, Job
from loadtests.workloads import Prompt
from tests.fakes.openai_server import Behaviour, FakeServer, Shape, answer_logprobs, answer_tokens

PROMPT = Prompt(prompt_id="w-1", token_ids=(65, 66, 67), max_tokens=5)
JOB = Job(id="chaos-1", prompt=PROMPT, phase="chaos", worker=3, intended_ns=17)
TOKENS = answer_tokens([65, 66, 67], 5)


@dataclass
class Notes:
    """A sink that keeps what it is told."""

    records: list[RequestRecord] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)

    def tokens(self, count: int) -> None:
        self.token_counts.append(count)

    def ended(self, record: RequestRecord) -> None:
        self.records.append(record)


def complete(url: str, times: int = 1) -> Notes:
    notes = Notes()
    client = CompletionClient(url, "tiny", deadline_s=60.0)
    for _ in range(times):
        client.complete(JOB, notes)
    client.close()
    return notes


def record_of(behaviour: Behaviour) -> RequestRecord:
    with FakeServer(behaviour) as server:
        notes = complete(server.url)
    assert len(server.seen) == 1
    (record,) = notes.records
    return record


def test_a_whole_answer_is_recorded_token_by_token() -> None:
    record = record_of(Behaviour(cached_tokens=2))
    assert (record.id, record.prompt_id, record.phase, record.worker) == ("chaos-1", "w-1", "chaos", 3)
    assert (record.prompt_tokens, record.max_tokens, record.intended_ns) == (3, 5, 17)
    assert (record.outcome, record.error, record.status) == ("ok", None, 200)
    assert record.token_ids == TOKENS
    assert record.logprobs == answer_logprobs(TOKENS)
    assert record.usage == Usage(prompt_tokens=3, completion_tokens=5, cached_tokens=2)
    assert record.finish_reason == "length"
    assert record.chunk_tokens == [1] * 5


def test_times_run_forward_from_the_start_of_the_request() -> None:
    record = record_of(Behaviour(token_s=0.01))
    assert record.first_us == record.chunk_us[0] >= 10_000
    assert record.chunk_us == sorted(record.chunk_us)
    assert record.chunk_us[-1] - record.chunk_us[0] >= 4 * 10_000
    assert record.end_us >= record.chunk_us[-1]


def test_several_tokens_in_one_event_are_counted_as_such() -> None:
    record = record_of(Behaviour(tokens_per_chunk=2))
    assert record.chunk_tokens == [2, 2, 1]
    assert len(record.chunk_us) == 3
    assert record.token_ids == TOKENS


def test_token_ids_are_never_made_up() -> None:
    record = record_of(Behaviour(token_ids=False))
    assert record.outcome == "ok"
    assert record.token_ids == []
    assert record.chunk_tokens == [1] * 5
    assert record.logprobs == answer_logprobs(TOKENS)


def test_the_servers_usage_is_recorded_even_when_it_is_wrong() -> None:
    record = record_of(Behaviour(shape="wrong_usage"))
    assert record.outcome == "ok"
    assert record.usage == Usage(prompt_tokens=3, completion_tokens=6)
    assert len(record.token_ids) == 5


@pytest.mark.parametrize(
    ("shape", "kind", "status", "tokens"),
    [
        ("truncated", "TruncatedStream", 200, 2),
        ("no_usage", "TruncatedStream", 200, 5),
        ("cut", "RemoteProtocolError", 200, 2),
        ("error_event", "ErrorEvent", 200, 2),
        ("malformed", "MalformedChunk", 200, 2),
        ("misshapen", "MalformedChunk", 200, 2),
        ("bad_request", "BadRequestError", 400, 0),
        ("server_error", "InternalServerError", 500, 0),
        ("hang_up", "RemoteProtocolError", None, 0),
    ],
)
def test_a_failure_is_one_record_with_what_had_arrived(
    shape: Shape, kind: str, status: int | None, tokens: int
) -> None:
    record = record_of(Behaviour(shape=shape))
    assert record.outcome == "error"
    assert record.error is not None
    assert (record.error.kind, record.error.status, record.status) == (kind, status, status)
    assert record.token_ids == TOKENS[:tokens]
    assert (record.first_us is None) == (tokens == 0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("bad_request", "the prompt is too long"),
        ("server_error", "EngineCore encountered an issue"),
        ("error_event", "EngineCore encountered an issue"),
        ("truncated", "the stream ended without finish reason and usage"),
        ("no_usage", "the stream ended without usage"),
    ],
)
def test_the_message_says_what_went_wrong(shape: Shape, message: str) -> None:
    record = record_of(Behaviour(shape=shape))
    assert record.error is not None
    assert record.error.message == message


def test_a_refused_connection_is_an_error_without_status() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (record,) = complete(f"http://127.0.0.1:{taken.getsockname()[1]}").records
    assert (record.outcome, record.status) == ("error", None)
    assert record.error is not None
    assert record.error.kind == "ConnectError"


def test_a_failing_server_is_asked_once_for_each_record() -> None:
    with FakeServer(Behaviour(shape="server_error")) as server:
        notes = complete(server.url, times=3)
    assert len(notes.records) == len(server.seen) == 3


def test_the_request_asks_for_what_the_oracles_need() -> None:
    with FakeServer() as server:
        complete(server.url)
    (seen,) = server.seen
    assert seen.headers["x-request-id"] == "chaos-1"
    assert seen.body == {
        "model": "tiny",
        "prompt": [65, 66, 67],
        "max_tokens": 5,
        "temperature": 0,
        "seed": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": 1,
        "ignore_eos": True,
        "return_token_ids": True,
    }


def test_tokens_are_told_as_they_arrive() -> None:
    with FakeServer(Behaviour(tokens_per_chunk=2)) as server:
        notes = complete(server.url)
    assert notes.token_counts == [2, 2, 1]


def test_a_record_survives_its_own_file_format() -> None:
    record = record_of(Behaviour(shape="error_event"))
    assert msgspec.json.decode(msgspec.json.encode(record), type=RequestRecord) == record


def test_a_fault_of_our_own_is_recorded_as_unknown_and_told() -> None:
    class Broken(Notes):
        def tokens(self, count: int) -> None:
            raise RuntimeError("a bug")

    notes = Broken()
    with FakeServer() as server, pytest.raises(RuntimeError, match="a bug"):
        CompletionClient(server.url, "tiny", deadline_s=60.0).complete(JOB, notes)
    (record,) = notes.records
    assert record.outcome == "unknown"
    assert record.error is not None
    assert record.error.kind == "ClientFault"


def test_a_long_message_is_cut() -> None:
    record = record_of(Behaviour(shape="bad_request", message="x" * 2000))
    assert record.error is not None
    assert record.error.message == "x" * 500


def test_load_never_leaves_this_machine() -> None:
    with pytest.raises(ValueError, match="not on this machine"):
        CompletionClient("http://192.0.2.1:8000", "tiny", deadline_s=1.0)
