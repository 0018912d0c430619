"""Wrong requests are sent as they are meant, and what came back is told as it came."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.outside.faults.malformed_requests import EACH, MALFORMED, OVERSIZED, chosen
from chaos.outside.raw_requests import ClientTarget, RawRequest, RequestSender, send_and_read
from tests.support.fake_server_runs import wait_for

NOWHERE = Path("requests-crowd.jsonl")
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"
GO = threading.Event()
"""No stop."""
FORM = RawRequest("plain", "", lambda target: b"GET / HTTP/1.1\r\n\r\n")


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[ClientTarget]:
    """A server that treats each connection so, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield ClientTarget(listener.getsockname()[1], "tiny", 768, 32, NOWHERE)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def refuse(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(REFUSAL)


def refuse_late(connection: socket.socket) -> None:
    time.sleep(0.1)
    refuse(connection)


def refuse_unread(connection: socket.socket) -> None:
    connection.sendall(REFUSAL)
    time.sleep(0.2)


def test_answer_is_recorded_with_status_and_body() -> None:
    with serving(refuse) as target:
        answer = send_and_read(FORM, target, 5.0, GO)
    assert (answer.form, answer.status, answer.body) == ("plain", 400, "{}")


def test_closed_connection_has_no_status() -> None:
    with serving(lambda connection: None) as target:
        assert send_and_read(FORM, target, 5.0, GO).status is None


def test_refused_connection_has_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert send_and_read(FORM, ClientTarget(port, "tiny", 768, 32, NOWHERE), 5.0, GO).status is None


def test_silent_server_times_out() -> None:
    with serving(lambda connection: time.sleep(0.5)) as target:
        answer = send_and_read(FORM, target, 0.2, GO)
    assert answer.status is None
    assert answer.ms >= 200.0


def test_answer_sent_before_the_request_ended_is_read() -> None:
    form = RawRequest("long", "", lambda target: b"x" * (64 << 20))
    with serving(refuse_unread) as target:
        assert send_and_read(form, target, 5.0, GO).ms < 5000.0


def test_disconnecting_client_waits_for_no_answer() -> None:
    (form,) = (form for form in MALFORMED if not form.answered)
    with serving(lambda connection: time.sleep(0.5)) as target:
        assert send_and_read(form, target, 5.0, GO).ms < 400.0


def test_malformed_requests_are_sent_one_by_one_until_stopped() -> None:
    with serving(refuse_late) as target:
        sending = RequestSender([FORM] * 100, target, 5.0)
        sending.start()
        wait_for(lambda: len(sending.answers()) >= 2)
        sending.stop()
        wait_for(sending.over)
    assert 2 <= len(sending.answers()) < 100


def test_form_each_selects_all_forms_and_a_name_one() -> None:
    assert chosen(MALFORMED, EACH) == MALFORMED
    assert [form.name for form in chosen(OVERSIZED, "long_prompt")] == ["long_prompt"]


@pytest.mark.parametrize("form", [*MALFORMED, *OVERSIZED], ids=lambda form: form.name)
def test_malformed_forms_differ_from_a_valid_request_as_described(form: RawRequest) -> None:
    target = ClientTarget(8000, "tiny", 768, 32, NOWHERE)
    head, _, body = form.build(target).partition(b"\r\n\r\n")
    if form.name in ("no_http", "no_length", "no_path", "no_method", "cut_short"):
        return
    assert b"POST /v1/completions HTTP/1.1\r\n" in head
    assert f"Content-Length: {len(body)}".encode() in head
    if form.name in ("no_utf8", "no_json", "list", "deep"):
        return
    request = json.loads(body)
    right = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 2}
    assert (
        request is None
        or sum(request.get(name) != value for name, value in right.items())
        + len(request.keys() - right.keys())
        == 1
    )


def test_malformed_form_names_are_unique() -> None:
    names = [form.name for form in (*MALFORMED, *OVERSIZED)]
    assert len(set(names)) == len(names)
