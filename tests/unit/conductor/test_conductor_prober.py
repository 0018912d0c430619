"""The probe says whether the server answers: no end of it may go unrecorded or be taken for an answer."""

from __future__ import annotations

import contextlib
import errno
import http.server
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from history.records import RequestRecord
from kvchaos.conductor.prober import MAX_TOKENS, PROMPT, ProbeClient
from tests.fakes.openai_server import Behaviour, FakeServer, Shape, answer_logprobs, answer_tokens

PATIENCE_S = 30.0


def records(run_dir: Path) -> list[RequestRecord]:
    lines = (run_dir / "requests-probe.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=RequestRecord) for line in lines]


def only_record(run_dir: Path) -> RequestRecord:
    (record,) = records(run_dir)
    return record


@contextlib.contextmanager
def probe(url: str, run_dir: Path) -> Iterator[ProbeClient]:
    made = ProbeClient(url, "tiny", run_dir)
    try:
        yield made
    finally:
        made.close()


def test_complete_probe_answer_is_recorded(tmp_path: Path) -> None:
    with FakeServer(Behaviour(cached_tokens=0)) as server, probe(server.url, tmp_path) as bird:
        sent = bird.send(PATIENCE_S)
    record = only_record(tmp_path)
    tokens = answer_tokens(list(PROMPT), MAX_TOKENS)
    assert (sent.ok, sent.error, sent.request) == (True, None, record.id)
    assert (record.outcome, record.error, record.status, record.finish_reason) == ("ok", None, 200, "length")
    assert (record.token_ids, record.logprobs) == (tokens, answer_logprobs(tokens))
    assert record.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (len(PROMPT), MAX_TOKENS)
    assert (record.phase, record.prompt_id, record.prompt_tokens) == ("probe", "probe", len(PROMPT))
    assert record.first_us is not None
    assert 0 < record.first_us <= record.end_us
    assert sent.seconds == record.end_us / 1e6
    (request,) = server.received
    assert request.headers["x-request-id"] == record.id
    assert request.body["prompt"] == list(PROMPT)
    assert request.body["stream_options"] == {"include_usage": True}


BAD: list[tuple[Shape, int | None, str]] = [
    ("server_error", 500, "BadAnswer: .*EngineCore encountered an issue"),
    ("bad_request", 400, "BadAnswer: .*the prompt is too long"),
    ("truncated", 200, "TruncatedStream: the stream ended without finish reason and usage"),
    ("no_usage", 200, "TruncatedStream: the stream ended without usage"),
    ("cut", 200, "TruncatedStream: the stream ended without finish reason and usage"),
    ("error_event", 200, "BadAnswer: .*EngineCore encountered an issue"),
    ("malformed", 200, "JSONDecodeError: "),
    ("misshapen", 200, "MalformedChunk: "),
    ("hang_up", None, "RemoteDisconnected: "),
]


@pytest.mark.parametrize(("shape", "status", "message"), BAD, ids=[shape for shape, _, _ in BAD])
def test_invalid_probe_answer_is_recorded_as_an_error(
    tmp_path: Path, shape: Shape, status: int | None, message: str
) -> None:
    with FakeServer(Behaviour(shape, after=0)) as server, probe(server.url, tmp_path) as bird:
        sent = bird.send(PATIENCE_S)
    record = only_record(tmp_path)
    assert not sent.ok
    assert (record.outcome, record.status) == ("error", status)
    assert record.error is not None
    assert record.error.status == status
    assert sent.error == f"{record.error.kind}: {record.error.message}"
    assert re.search(message, sent.error)


@pytest.mark.parametrize("shape", ["stall", "silent"])
def test_probe_of_a_stalled_server_times_out(tmp_path: Path, shape: Shape) -> None:
    with FakeServer(Behaviour(shape, after=1)) as server, probe(server.url, tmp_path) as bird:
        sent = bird.send(0.2)
    record = only_record(tmp_path)
    assert (sent.ok, record.outcome) == (False, "error")
    assert record.error is not None
    assert record.error.kind == "TimeoutError"
    assert 0.2 <= sent.seconds < PATIENCE_S
    assert len(record.token_ids) == (1 if shape == "stall" else 0)


def test_probe_answer_after_the_deadline_is_an_error(tmp_path: Path) -> None:
    def late(*_: object) -> Behaviour:
        time.sleep(0.15)
        return Behaviour(token_s=0.15)

    with FakeServer(late) as server, probe(server.url, tmp_path) as bird:
        sent = bird.send(0.2)
    record = only_record(tmp_path)
    assert (sent.ok, record.outcome) == (False, "error")
    assert record.error is not None
    assert record.error.kind == "TimeoutError"


def test_probe_of_an_exited_server_is_recorded_without_status(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with probe(f"http://127.0.0.1:{nobody.getsockname()[1]}", tmp_path) as bird:
            sent = bird.send(PATIENCE_S)
    record = only_record(tmp_path)
    assert (sent.ok, record.outcome, record.status, record.first_us) == (False, "error", None, None)
    assert record.error is not None
    assert record.error.kind == "ConnectionRefusedError"


def test_each_probe_has_a_unique_id(tmp_path: Path) -> None:
    with FakeServer() as server, probe(server.url, tmp_path) as bird:
        sent = [bird.send(PATIENCE_S).request for _ in range(3)]
    assert [record.id for record in records(tmp_path)] == sent
    assert len(set(sent)) == 3


@contextlib.contextmanager
def saying(body: bytes) -> Iterator[str]:
    """A server that answers everything with status 200 and these bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "TruncatedStream"),
        (b"<html>proxy</html>", "TruncatedStream"),
        (b"data: [DONE]\n\n", "TruncatedStream"),
        (b"data: 5\n\n", "MalformedChunk"),
        (b"data: null\n\n", "MalformedChunk"),
        (b'data: "error"\n\n', "MalformedChunk"),
        (b"data: \xff\n\n", "UnicodeDecodeError"),
    ],
)
def test_probe_survives_any_stream_content(tmp_path: Path, body: bytes, kind: str) -> None:
    with saying(body) as url, probe(url, tmp_path) as bird:
        sent = bird.send(PATIENCE_S)
    record = only_record(tmp_path)
    assert (sent.ok, record.outcome, record.status) == (False, "error", 200)
    assert record.error is not None
    assert record.error.kind == kind


def test_a_record_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "requests-probe.jsonl").symlink_to("/dev/full")
    with (
        FakeServer() as server,
        probe(server.url, tmp_path) as bird,
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
    ):
        bird.send(PATIENCE_S)
