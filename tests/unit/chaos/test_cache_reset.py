"""A reset of the caches that is refused or not logged proves nothing; its query says what is reset."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from chaos.outside.injector import CLIENT, DueInjection
from chaos.outside.outside_kinds import TargetInjector
from chaos.outside.raw_requests import ClientTarget
from history.protocol.outside import NO_STATUS, CachesReset
from history.protocol.schedule import Value
from tests.support.fake_server_runs import wait_for
from tests.support.outside_fault_phase import Struck

RESET = "(APIServer pid=7) INFO [api_router.py:39] Resetting prefix cache..."


def reset(*statuses: int, logged: int) -> Struck:
    """A phase with a reset for each status, and so many lines of it in the server's log."""
    phase = Struck("cache_reset", [], log=["INFO ready", *[RESET] * logged])
    for n, status in enumerate(statuses):
        phase.strike(1000 * (n + 1), n=n, status=status, ms=5)
        phase.undo(1000 * (n + 1) + 50, n=n, requests=1)
    return phase


def test_accepted_and_logged_resets_are_effective() -> None:
    assert reset(200, 200, logged=2).doubt() is None


def test_reset_without_a_response_needs_no_log_line() -> None:
    assert reset(200, NO_STATUS, logged=1).doubt() is None


@pytest.mark.parametrize(
    ("statuses", "logged", "doubt"),
    [
        ((200, 500), 2, "not-accepted"),
        ((200, 200), 1, "not-logged"),
        ((NO_STATUS,), 0, "not-logged"),
    ],
)
def test_refused_or_unlogged_reset_is_not_effective(
    statuses: tuple[int, ...], logged: int, doubt: str
) -> None:
    assert reset(*statuses, logged=logged).doubt() == doubt


@pytest.mark.parametrize(
    ("tier", "running", "line"),
    [
        (False, False, b"POST /reset_prefix_cache HTTP/1.1"),
        (True, False, b"POST /reset_prefix_cache?reset_external=true HTTP/1.1"),
        (True, True, b"POST /reset_prefix_cache?reset_external=true&reset_running_requests=true HTTP/1.1"),
    ],
)
def test_query_of_a_reset_follows_its_parameters(
    tier: bool, running: bool, line: bytes, tmp_path: Path
) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        target = ClientTarget(listener.getsockname()[1], "tiny", 768, 32, tmp_path / "requests-crowd.jsonl")
        params: dict[str, Value] = {
            "trigger_on": "answered",
            "tier": tier,
            "running": running,
            "duration_s": 5.0,
        }
        active = TargetInjector(CLIENT, target).prepare(
            DueInjection("f1", "cache_reset", "answered", 0, params, 1)
        )
        active.apply()
        wait_for(lambda: active.verify() is not None)
        thread.join()
    evidence = active.verify()
    assert isinstance(evidence, CachesReset)
    assert evidence.status == 200
    assert received[0].split(b"\r\n")[0] == line
