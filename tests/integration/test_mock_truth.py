"""Two paths to the truth: what the load client recorded and what the mock server says that it sent.

Order and completeness are strict. How far apart the two are is bound generously, as machines are busy.
"""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
import pytest

from history.records import RequestRecord
from history.scenario import ClientKind, Param
from loadtests.clients.completion_clients import CLIENTS
from loadtests.mock.mock_process import End, Fixed, MockServer, SentRecord, Settings, Uniform
from loadtests.mock.mock_response import response_tokens
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, wait_for, write_plan

SENT = "sent.jsonl"
NS_PER_US = 1000
GENEROUS_NS = 1_000_000_000
PAUSE_MS = 700.0
DELAYED_S = 0.8
CLOCKS_NS = 10_000_000
"""Room between the kernel's clock of arrivals and the monotonic one."""
Met = tuple[RequestRecord, SentRecord]
pytestmark = pytest.mark.parametrize("client", CLIENTS)


def meet(
    run_dir: Path,
    client: ClientKind,
    settings: Settings,
    *,
    requests: int,
    workers: int = 1,
    request_s: float = PATIENCE_S,
    kind: str = "unique",
    params: dict[str, Param] | None = None,
) -> list[Met]:
    """Run the real load workers against the mock server; what both say of each request."""
    with MockServer(settings, run_dir / SENT) as server:
        plan = write_plan(run_dir, server.url, request_s=request_s, kind=kind, params=params, client=client)
        with loaders(run_dir, plan, workers) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase(requests=requests, concurrency=12))
            assert load.wait_done(PATIENCE_S)
            assert load.progress().sent == requests
    found = {record.id: record for record in records(run_dir)}
    sent = server.sent()
    assert len(found) == requests
    assert found.keys() == sent.keys()
    return [(found[name], sent[name]) for name in found]


def arrivals_ns(record: RequestRecord) -> list[int]:
    """The latest moments that the client's stamps, whole microseconds, can mean."""
    return [record.start_mono_ns + (at_us + 1) * NS_PER_US for at_us in record.chunk_us]


def check_tokens(record: RequestRecord, sent: SentRecord) -> None:
    """Nothing lost, nothing doubled, each event at its own place and not before it was sent."""
    assert record.chunk_tokens == sent.event_tokens
    arrived = arrivals_ns(record)
    assert all(at >= out for at, out in zip(arrived, sent.sent_ns, strict=True))
    assert all(one <= other for one, other in pairwise(record.chunk_us))
    assert record.start_mono_ns <= sent.received_ns
    assert all(out >= due for out, due in zip(sent.sent_ns, sent.due_ns, strict=True))
    if record.first_us is not None:
        assert record.first_us == record.chunk_us[0]


def test_no_token_is_lost_or_timestamped_before_its_send_time(tmp_path: Path, client: ClientKind) -> None:
    settings = Settings(ttft=Uniform(low_ms=0, high_ms=30), itl=Uniform(low_ms=0, high_ms=4))
    met = meet(tmp_path, client, settings, requests=60, workers=2)
    for record, sent in met:
        check_tokens(record, sent)
        assert record.outcome == "ok"
        assert record.token_ids == response_tokens(record.id, 0, record.max_tokens)
        assert len(record.logprobs) == record.max_tokens
        assert record.usage is not None
        assert record.usage.prompt_tokens == sent.prompt_tokens == record.prompt_tokens
        assert record.usage.completion_tokens == sum(sent.event_tokens) == record.max_tokens
    lags = [
        at - out for record, sent in met for at, out in zip(arrivals_ns(record), sent.sent_ns, strict=True)
    ]
    assert median(lags) < GENEROUS_NS


def test_events_of_several_tokens_keep_their_counts(tmp_path: Path, client: ClientKind) -> None:
    settings = Settings(ttft=Fixed(ms=0), itl=Fixed(ms=1), tokens_per_event=5)
    for record, sent in meet(tmp_path, client, settings, requests=20):
        check_tokens(record, sent)
        assert set(record.chunk_tokens[:-1]) <= {5}
        assert record.token_ids == response_tokens(record.id, 0, record.max_tokens)


def test_choices_and_unstreamed_answers_match_the_server_records(tmp_path: Path, client: ClientKind) -> None:
    settings = Settings(ttft=Fixed(ms=1), itl=Fixed(ms=1))
    params: dict[str, Param] = {"prefix_tokens": 32, "prompts": 30}
    met = meet(tmp_path, client, settings, requests=30, kind="parameter_mix", params=params)
    for record, sent in met:
        check_tokens(record, sent)
        assert record.outcome == "ok"
        each = [response_tokens(record.id, choice, record.max_tokens) for choice in range(record.choices)]
        assert record.token_ids == [token for tokens in each for token in tokens]
    assert {record.choices for record, _ in met} > {1}
    assert any(sent.event_tokens == [record.max_tokens] for record, sent in met)


def test_each_bad_response_end_is_recorded_by_kind(tmp_path: Path, client: ClientKind) -> None:
    ends: dict[End, float] = {
        "http_error": 0.15,
        "error_event": 0.15,
        "cut": 0.15,
        "truncated": 0.15,
        "hang": 0.1,
    }
    settings = Settings(seed=3, ttft=Fixed(ms=1), itl=Fixed(ms=1), ends=ends)
    met = meet(tmp_path, client, settings, requests=80, request_s=4.0)
    expected = {
        "whole": ("ok", None),
        "http_error": ("error", "InternalServerError"),
        "error_event": ("error", "ErrorEvent"),
        "cut": ("error", "RemoteProtocolError"),
        "truncated": ("error", "TruncatedStream"),
        "hang": ("error", "DeadlineExceeded"),
    }
    assert {sent.end for _, sent in met} == expected.keys()
    for record, sent in met:
        kind = record.error.kind if record.error else None
        assert (sent.end, record.outcome, kind) == (sent.end, *expected[sent.end])
        assert sent.left == (sent.end == "hang")
        if sent.end != "http_error":
            check_tokens(record, sent)


def test_pause_in_a_stream_is_recorded_at_its_token(tmp_path: Path, client: ClientKind) -> None:
    settings = Settings(ttft=Fixed(ms=1), itl=Fixed(ms=1), ends={"pause": 0.5}, pause_ms=PAUSE_MS)
    met = meet(tmp_path, client, settings, requests=24)
    assert {sent.end for _, sent in met} == {"whole", "pause"}
    for record, sent in met:
        check_tokens(record, sent)
        assert record.outcome == "ok"
        planned = [after - before > PAUSE_MS * 1e6 / 2 for before, after in pairwise(sent.due_ns)]
        assert sum(planned) == (sent.end == "pause")
        # What came behind the pause is not told as if it had come before it.
        resumed_ns = [out for out, paused in zip(sent.sent_ns[1:], planned, strict=True) if paused]
        late = [at for at, paused in zip(arrivals_ns(record)[1:], planned, strict=True) if paused]
        assert all(at >= out for at, out in zip(late, resumed_ns, strict=True))


def test_client_delay_is_distinguished_from_server_delay(tmp_path: Path, client: ClientKind) -> None:
    settings = Settings(ttft=Fixed(ms=1), itl=Fixed(ms=100))
    with MockServer(settings, tmp_path / SENT) as server:
        with loaders(tmp_path, write_plan(tmp_path, server.url, client=client)) as load:
            assert load.wait_ready(PATIENCE_S)
            load.start_phase(phase(requests=4, concurrency=4))
            wait_for(lambda: load.progress().tokens >= 4)
            os.kill(load.pids[0], signal.SIGSTOP)
            wait_for(lambda: psutil.Process(load.pids[0]).status() == psutil.STATUS_STOPPED)
            stopped_ns = time.monotonic_ns()
            time.sleep(DELAYED_S)
            continued_ns = time.monotonic_ns()
            os.kill(load.pids[0], signal.SIGCONT)
            assert load.wait_done(PATIENCE_S)
        sent = server.sent()
    for record in records(tmp_path):
        check_tokens(record, sent[record.id])
        outs = sent[record.id].sent_ns
        lags_ns = [at - out for at, out in zip(arrivals_ns(record), outs, strict=True)]
        unread_ns = [out for out in outs if stopped_ns < out < continued_ns]
        assert len(unread_ns) > 1, "the server sent too few tokens while nobody could read"
        # One read has all of them, and the kernel's time of its last byte.
        assert max(lags_ns) > unread_ns[-1] - unread_ns[0] - CLOCKS_NS
