"""Every way a stream can end gives exactly one record with the right outcome; only a whole answer is ok."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import msgspec
import pytest

from history.records import RequestRecord, Usage
from history.scenario import ClientKind
from loadtests.clients.completion_clients import CLIENTS, CompletionClient
from loadtests.clients.completion_request import Job, body_of, path_of
from loadtests.mock.mock_process import Fixed, MockServer, Settings
from loadtests.mock.mock_response import logprob as mock_logprob
from loadtests.mock.mock_response import response_tokens as mock_tokens
from loadtests.workloads.shared_prefix_mixes import rendered
from loadtests.workloads.workload import Abort, Message, Prompt, Sampling
from tests.fakes.notes import Notes
from tests.fakes.openai_server import (
    ENGINE_DEAD,
    TOO_LONG,
    Behaviour,
    FakeServer,
    Shape,
    answer_logprobs,
    answer_tokens,
)

PROMPT = Prompt(prompt_id="w-1", token_ids=(65, 66, 67), max_tokens=5)
Make = type[CompletionClient]
JOB = Job(id="chaos-1", prompt=PROMPT, phase="chaos", worker=3, scheduled_ns=17)
TOKENS = answer_tokens([65, 66, 67], 5)


@pytest.fixture(params=list(CLIENTS))
def make(request: pytest.FixtureRequest) -> Make:
    """Either of the clients; nothing here may tell one from the other."""
    kind: ClientKind = request.param
    return CLIENTS[kind]


def complete(make: Make, url: str, times: int = 1, job: Job = JOB) -> Notes:
    notes = Notes()
    client = make(url, "tiny", deadline_s=60.0)
    for _ in range(times):
        client.complete(job, notes)
    client.close()
    return notes


def record_of(make: Make, behaviour: Behaviour) -> RequestRecord:
    with FakeServer(behaviour) as server:
        notes = complete(make, server.url)
    assert len(server.received) == 1
    (record,) = notes.records
    return record


def test_complete_answer_is_recorded_token_by_token(make: Make) -> None:
    record = record_of(make, Behaviour(cached_tokens=2))
    assert (record.id, record.prompt_id, record.phase, record.worker) == ("chaos-1", "w-1", "chaos", 3)
    assert (record.prompt_tokens, record.max_tokens, record.scheduled_ns) == (3, 5, 17)
    assert (record.outcome, record.error, record.status) == ("ok", None, 200)
    assert record.token_ids == TOKENS
    assert record.logprobs == answer_logprobs(TOKENS)
    assert record.usage == Usage(prompt_tokens=3, completion_tokens=5, cached_tokens=2)
    assert record.finish_reason == "length"
    assert record.chunk_tokens == [1] * 5


def test_times_run_forward_from_the_start_of_the_request(make: Make) -> None:
    record = record_of(make, Behaviour(token_s=0.01))
    assert record.first_us == record.chunk_us[0] >= 10_000
    assert record.chunk_us == sorted(record.chunk_us)
    assert record.chunk_us[-1] - record.chunk_us[0] >= 4 * 10_000
    assert record.end_us >= record.chunk_us[-1]


def first_block(make: Make, tokens: list[int], block_size: int | None) -> str | None:
    prompt = Prompt(prompt_id="w-1", token_ids=tuple(tokens), max_tokens=1)
    notes = Notes()
    with FakeServer(Behaviour()) as server:
        client = make(server.url, "tiny", deadline_s=60.0, block_size=block_size)
        client.complete(dataclasses.replace(JOB, prompt=prompt), notes)
        client.close()
    return notes.records[0].first_block


def test_first_block_hash_is_shared_exactly_by_equal_first_blocks(make: Make) -> None:
    one = first_block(make, [1, 2, 3, 4, 5], 4)
    assert one is not None
    assert first_block(make, [1, 2, 3, 4], 4) == first_block(make, [1, 2, 3, 4, 9, 9], 4) == one
    assert first_block(make, [1, 2, 3, 9, 5], 4) not in (one, None)
    assert first_block(make, [12, 3, 4, 0, 0], 4) != first_block(make, [1, 23, 4, 0, 0], 4)


def test_prompt_below_one_block_has_no_first_block(make: Make) -> None:
    assert first_block(make, [1, 2, 3], 4) is None
    assert first_block(make, [1, 2, 3], None) is None


def test_several_tokens_in_one_event_are_counted_as_such(make: Make) -> None:
    record = record_of(make, Behaviour(tokens_per_chunk=2))
    assert record.chunk_tokens == [2, 2, 1]
    assert len(record.chunk_us) == 3
    assert record.token_ids == TOKENS


def test_missing_token_ids_are_not_invented(make: Make) -> None:
    record = record_of(make, Behaviour(token_ids=False))
    assert record.outcome == "ok"
    assert record.token_ids == []
    assert record.chunk_tokens == [1] * 5
    assert record.logprobs == answer_logprobs(TOKENS)


def test_wrong_usage_of_the_server_is_recorded_unchanged(make: Make) -> None:
    record = record_of(make, Behaviour(shape="wrong_usage"))
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
    make: Make, shape: Shape, kind: str, status: int | None, tokens: int
) -> None:
    record = record_of(make, Behaviour(shape=shape))
    assert record.outcome == "error"
    assert record.error is not None
    assert (record.error.kind, record.error.status, record.status) == (kind, status, status)
    assert record.token_ids == TOKENS[:tokens]
    assert (record.first_us is None) == (tokens == 0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("bad_request", TOO_LONG),
        ("server_error", ENGINE_DEAD),
        ("error_event", ENGINE_DEAD),
        ("truncated", "finish reason"),
        ("no_usage", "usage"),
    ],
)
def test_error_message_names_the_failure(make: Make, shape: Shape, message: str) -> None:
    record = record_of(make, Behaviour(shape=shape))
    assert record.error is not None
    assert message in record.error.message


def test_a_refused_connection_is_an_error_without_status(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (record,) = complete(make, f"http://127.0.0.1:{taken.getsockname()[1]}").records
    assert (record.outcome, record.status) == ("error", None)
    assert record.error is not None
    assert record.error.kind == "ConnectError"


def test_failing_server_receives_one_request_per_record(make: Make) -> None:
    with FakeServer(Behaviour(shape="server_error")) as server:
        notes = complete(make, server.url, times=3)
    assert len(notes.records) == len(server.received) == 3


def test_request_includes_the_parameters_that_oracles_need(make: Make) -> None:
    with FakeServer() as server:
        complete(make, server.url)
    (received,) = server.received
    assert received.headers["x-request-id"] == "chaos-1"
    assert received.body == {
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


def test_tokens_are_reported_as_they_arrive(make: Make) -> None:
    with FakeServer(Behaviour(tokens_per_chunk=2, token_s=0.3)) as server:
        notes = complete(make, server.url)
    # A client may tell at once of events that it read at once, as happens on a busy machine.
    assert notes.token_counts[0] < sum(notes.token_counts) == 5


def test_record_survives_a_write_and_read(make: Make) -> None:
    record = record_of(make, Behaviour(shape="error_event"))
    assert msgspec.json.decode(msgspec.json.encode(record), type=RequestRecord) == record


def test_client_bug_is_recorded_as_unknown_and_raised(make: Make) -> None:
    class Broken(Notes):
        def tokens(self, count: int) -> None:
            raise RuntimeError("a bug")

    notes = Broken()
    with FakeServer() as server:
        client = make(server.url, "tiny", deadline_s=60.0)
        with pytest.raises(RuntimeError, match="a bug"):
            client.complete(JOB, notes)
        client.close()
    (record,) = notes.records
    assert record.outcome == "unknown"
    assert record.error is not None
    assert record.error.kind == "ClientFault"


def test_a_long_message_is_cut(make: Make) -> None:
    record = record_of(make, Behaviour(shape="bad_request", message="x" * 2000))
    assert record.error is not None
    assert record.error.message == "x" * 500


def test_client_refuses_a_remote_target(make: Make) -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.1"):
        make("http://192.0.2.1:8000", "tiny", deadline_s=1.0)


def job_with(sampling: Sampling | None = None, abort: Abort | None = None) -> Job:
    prompt = dataclasses.replace(PROMPT, sampling=sampling or Sampling(), abort=abort)
    return dataclasses.replace(JOB, prompt=prompt)


def test_several_choices_are_recorded_one_after_the_other(make: Make) -> None:
    with FakeServer() as server:
        (record,) = complete(make, server.url, job=job_with(Sampling(n=2, temperature=0.5))).records
    assert (record.outcome, record.choices, record.finish_reason) == ("ok", 2, "length")
    assert record.token_ids == TOKENS + answer_tokens([65, 66, 67, 1], 5)
    assert record.logprobs == answer_logprobs(record.token_ids)
    assert record.usage == Usage(prompt_tokens=3, completion_tokens=10)
    assert sum(record.chunk_tokens) == 10


def test_unfinished_choice_makes_the_answer_incomplete(make: Make) -> None:
    with FakeServer(Behaviour(shape="truncated")) as server:
        (record,) = complete(make, server.url, job=job_with(Sampling(n=2, temperature=0.5))).records
    assert (record.outcome, record.finish_reason) == ("error", None)


def test_an_answer_in_one_piece_is_recorded_like_a_stream_of_one_event(make: Make) -> None:
    with FakeServer() as server:
        (record,) = complete(make, server.url, job=job_with(Sampling(prompt_logprobs=2))).records
    assert "stream" not in server.received[0].body
    assert (record.outcome, record.status, record.finish_reason) == ("ok", 200, "length")
    assert (record.token_ids, record.logprobs) == (TOKENS, answer_logprobs(TOKENS))
    assert record.chunk_tokens == [5]
    assert record.first_us == record.chunk_us[0]
    # Those of the prompt's own tokens, not the likeliest ones.
    assert record.prompt_logprobs == answer_logprobs([65, 66, 67])[1:]


CHAT = (Message("system", "be kind"), Message("user", "hello"))


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(n=2, temperature=0.5, top_k=1)], ids=["one", "two"]
)
def test_a_chat_is_recorded_as_a_completion_is(make: Make, tmp_path: Path, sampling: Sampling) -> None:
    prompt = dataclasses.replace(PROMPT, messages=CHAT, token_ids=rendered(CHAT), sampling=sampling)
    with MockServer(Settings(ttft=Fixed(ms=1), itl=Fixed(ms=1)), tmp_path / "sent.jsonl") as server:
        client, notes = make(server.url, "tiny", deadline_s=60.0), Notes()
        for number, each in enumerate((prompt, dataclasses.replace(PROMPT, sampling=sampling))):
            client.complete(dataclasses.replace(JOB, id=f"chat-{number}", prompt=each), notes)
        client.close()
    chat, completion = notes.records
    assert (chat.outcome, chat.status, chat.finish_reason) == ("ok", 200, "length")
    assert chat.chunk_tokens == completion.chunk_tokens
    for record in (chat, completion):
        tokens = [token for index in range(sampling.n) for token in mock_tokens(record.id, index, 5)]
        assert record.token_ids == tokens
        assert record.logprobs == [mock_logprob(token) for token in tokens]
    assert chat.first_us == chat.chunk_us[0]
    assert chat.prompt_tokens == len("system: be kind\nuser: hello\nassistant: ")


def test_chat_request_uses_chat_parameter_names() -> None:
    prompt = dataclasses.replace(PROMPT, messages=CHAT, sampling=Sampling(logprobs=3))
    assert path_of(prompt) == "/chat/completions"
    body = body_of(prompt, "tiny", with_margins=False)
    assert body["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
    ]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert "prompt" not in body
    assert body_of(prompt, "tiny", with_margins=True)["top_logprobs"] == 3


def test_parameters_are_sent_by_the_apis_names(make: Make) -> None:
    sampling = Sampling(
        n=2,
        temperature=0.5,
        top_k=1,
        seed=9,
        logprobs=3,
        stop=("a",),
        stop_token_ids=(7, 8),
        priority=1,
        cache_salt="salt-1",
    )
    with FakeServer() as server:
        complete(make, server.url, job=job_with(sampling))
    (received,) = server.received
    sent = {
        name: received.body[name] for name in ("n", "temperature", "top_k", "seed", "logprobs", "priority")
    }
    assert sent == {"n": 2, "temperature": 0.5, "top_k": 1, "seed": 9, "logprobs": 3, "priority": 1}
    assert (received.body["stop"], received.body["stop_token_ids"]) == (["a"], [7, 8])
    assert received.body["cache_salt"] == "salt-1"


def test_client_abort_is_recorded_with_its_tokens(make: Make) -> None:
    with FakeServer(Behaviour(token_s=0.01)) as server:
        (record,) = complete(make, server.url, job=job_with(abort=Abort(after_tokens=3))).records
    assert (record.outcome, record.token_ids) == ("aborted", TOKENS[:3])
    assert record.error is not None
    assert record.error.kind == "Abandoned"
    assert "3 tokens" in record.error.message


def test_answer_before_the_client_abort_is_ok(make: Make) -> None:
    with FakeServer() as server:
        (record,) = complete(make, server.url, job=job_with(abort=Abort(after_s=50.0))).records
    assert record.outcome == "ok"


def test_client_abort_closes_the_connection(make: Make) -> None:
    with FakeServer(Behaviour(token_s=0.02)) as server:
        notes = complete(make, server.url, times=2, job=job_with(abort=Abort(after_tokens=1)))
        left = [record.outcome for record in notes.records]
        (whole,) = complete(make, server.url).records
    assert left == ["aborted", "aborted"]
    assert (whole.outcome, whole.token_ids) == ("ok", TOKENS)


def test_next_request_reuses_the_connection(make: Make, tmp_path: Path) -> None:
    with MockServer(Settings(ttft=Fixed(ms=1), itl=Fixed(ms=1)), tmp_path / "sent.jsonl") as server:
        client = make(server.url, "tiny", deadline_s=60.0)
        for number in range(5):
            client.complete(dataclasses.replace(JOB, id=f"chaos-{number}"), Notes())
        client.close()
    # One that idles for 2 s is given up, as may happen on a busy machine.
    assert len({record.connection for record in server.sent().values()}) < 5


def test_request_above_the_socket_buffer_is_sent_completely(make: Make) -> None:
    prompt = dataclasses.replace(PROMPT, token_ids=(65,) * 4_000_000)
    with FakeServer() as server:
        notes = complete(make, server.url, job=dataclasses.replace(JOB, prompt=prompt))
    (received,) = server.received
    assert received.body["prompt"] == [65] * 4_000_000
    assert len(notes.records) == 1
