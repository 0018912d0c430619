"""The mock server: the schedule is the seed's, the bytes are those of the API, and what is sent is logged."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec
import pytest

from loadtests.mock.mock_process import (
    Distribution,
    End,
    Exponential,
    Fixed,
    Lognormal,
    MockFailed,
    MockServer,
    Settings,
    Uniform,
)
from loadtests.mock.mock_response import response_plan

MS = 1_000_000
PATIENCE_S = 30.0
ENDS: dict[End, float] = {"http_error": 0.1, "cut": 0.2, "pause": 0.3}
NOW = Settings(ttft=Fixed(ms=0), itl=Fixed(ms=0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MockServer]:
    with MockServer(NOW, tmp_path / "sent.jsonl") as started:
        yield started


def exchange(server: MockServer, *requests: bytes) -> bytes:
    """Send requests in one go over a connection that is to be closed behind the last; all that came back."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"".join(requests))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def post(body: object, path: str = "/v1/completions", headers: str = "", *, last: bool = True) -> bytes:
    content = json.dumps(body).encode()
    close = "connection: close\r\n" if last else ""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}{close}content-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def events(answer: bytes) -> list[Any]:
    lines = [line[6:] for line in answer.splitlines() if line.startswith(b"data: ")]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def test_mock_response_depends_on_seed_and_request_id_alone() -> None:
    settings = Settings(ttft=Exponential(mean_ms=5), itl=Exponential(mean_ms=5), ends=ENDS)
    scripts = [response_plan(settings, f"r-{number}", 20) for number in range(50)]
    assert scripts == [response_plan(settings, f"r-{number}", 20) for number in range(50)]
    assert len({script.offsets_ns for script in scripts}) == 50
    other = msgspec.structs.replace(settings, seed=1)
    assert scripts != [response_plan(other, f"r-{number}", 20) for number in range(50)]


def test_a_script_is_the_same_on_every_machine() -> None:
    settings = Settings(ttft=Uniform(low_ms=0, high_ms=10), itl=Fixed(ms=2.5))
    assert response_plan(settings, "load-7", 3).offsets_ns == (4043817, 6543817, 9043817)


@pytest.mark.parametrize(
    ("times", "middle", "average"),
    [
        (Fixed(ms=8), 8, 8),
        (Uniform(low_ms=2, high_ms=6), 4, 4),
        (Exponential(mean_ms=10), 6.93, 10),
        (Lognormal(median_ms=10, sigma=0.5), 10, 11.33),
    ],
)
def test_times_follow_their_distribution(times: Distribution, middle: float, average: float) -> None:
    settings = Settings(ttft=times)
    drawn = [response_plan(settings, f"r-{number}", 1).offsets_ns[0] / MS for number in range(20_000)]
    assert median(drawn) == pytest.approx(middle, rel=0.03)
    assert mean(drawn) == pytest.approx(average, rel=0.03)


def test_mock_response_ends_match_their_shares() -> None:
    settings = Settings(ends=ENDS)
    ends = [response_plan(settings, f"r-{number}", 8).end for number in range(10_000)]
    for end, share in {**ENDS, "whole": 0.4}.items():
        assert ends.count(end) / len(ends) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("tokens", [1, 2, 9])
@pytest.mark.parametrize("end", ["pause", "cut", "truncated", "hang", "error_event"])
def test_bad_end_follows_at_least_one_token_and_a_pause_loses_none(end: End, tokens: int) -> None:
    settings = Settings(ends={end: 1.0}, itl=Fixed(ms=1), tokens_per_event=2, pause_ms=500)
    for number in range(200):
        script = response_plan(settings, f"r-{number}", tokens)
        assert len(script.step_tokens) == len(script.offsets_ns) >= 1
        assert sum(script.step_tokens) == tokens if script.is_complete else sum(script.step_tokens) >= 1
        assert list(script.offsets_ns) == sorted(script.offsets_ns)
        assert (script.offsets_ns[-1] >= 500 * MS) == (end == "pause")


@pytest.mark.parametrize(
    "text",
    [
        '{"itl": {"kind": "fixed", "ms": -1}}',
        '{"itl": {"kind": "sometimes", "ms": 1}}',
        '{"itl": {"kind": "fixed", "ms": 1, "sigma": 1}}',
        '{"ttft": {"kind": "uniform", "low_ms": 2, "high_ms": 1}}',
        '{"ends": {"explode": 0.1}}',
        '{"ends": {"cut": 0.6, "hang": 0.6}}',
        '{"tokens_per_event": 0}',
        '{"speed": 1}',
    ],
)
def test_meaningless_mock_settings_are_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(text, type=Settings)


def test_a_server_with_bad_settings_ends_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.mock", "--log", str(tmp_path / "log")]
    command += ["--settings", '{"speed": 1}']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_a_completion_streams_tokens_logprobs_usage_and_done(server: MockServer) -> None:
    body = {"model": "m", "prompt": [5, 6, 7], "max_tokens": 3, "stream": True, "logprobs": 1}
    body |= {"return_token_ids": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    *chunks, usage = events(exchange(server, post(body)))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [len(choice["token_ids"]) for choice in choices] == [1, 1, 1]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "length"]
    assert choices[0]["prompt_token_ids"] == [5, 6, 7]
    assert all(len(choice["logprobs"]["token_logprobs"]) == 1 for choice in choices)
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def test_unrequested_fields_are_not_sent(server: MockServer) -> None:
    chunks = events(exchange(server, post({"prompt": "abc", "max_tokens": 2, "stream": True})))
    assert len(chunks) == 2
    assert all("token_ids" not in chunk["choices"][0] for chunk in chunks)
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    assert all("usage" not in chunk for chunk in chunks)


def test_a_chat_streams_its_role_once_and_its_content(server: MockServer) -> None:
    body = {"messages": [{"role": "user", "content": "hey"}], "max_completion_tokens": 4, "stream": True}
    chunks = events(exchange(server, post(body, "/v1/chat/completions")))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None]
    assert [len(delta["content"]) for delta in deltas] == [1, 1, 1, 1]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_an_answer_in_one_piece_has_all_choices(server: MockServer, path: str) -> None:
    _, _, body = exchange(server, post({"prompt": [1], "max_tokens": 5, "n": 2}, path)).partition(b"\r\n\r\n")
    answer = json.loads(body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] == 10


def test_requests_on_one_connection_are_answered_in_order_and_logged_by_id(server: MockServer) -> None:
    body = {"prompt": [1], "max_tokens": 2, "stream": True}
    sent = [post(body, headers=f"X-Request-Id: r{number}\r\n", last=number == 2) for number in range(3)]
    answer = exchange(server, *sent)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    found = server.sent()
    assert sorted(found) == ["r0", "r1", "r2"]
    assert {record.connection for record in found.values()} == {0}
    ends = [found[name].end_ns for name in ("r0", "r1", "r2")]
    assert ends == sorted(ends)


def test_client_disconnect_is_logged_with_the_sent_tokens(tmp_path: Path) -> None:
    with MockServer(Settings(ttft=Fixed(ms=0), itl=Fixed(ms=3_600_000)), tmp_path / "log") as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            connection.sendall(post({"prompt": [1], "max_tokens": 9, "stream": True}))
            assert b"data: " in connection.recv(65536)
    (record,) = server.sent().values()
    assert (record.left, record.end, record.event_tokens) == (True, "whole", [1])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post({"prompt": 5}), 400),
        (post([]), 400),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: many\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 999999999999999999\r\n\r\n", 413),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nx: " + b"x" * 70_000, 431),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 404),
        (b"\x00\xff\r\n\r\n", 400),
    ],
)
def test_unsupported_request_gets_a_status_and_later_clients_are_served(
    server: MockServer, request_: bytes, status: int
) -> None:
    assert exchange(server, request_).startswith(f"HTTP/1.1 {status} ".encode())
    assert b'"id":"mock"' in exchange(server, b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert server.sent() == {}


def test_a_server_that_cannot_write_its_log_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(MockFailed), MockServer(NOW, tmp_path / "nothing" / "log"):
        pass
