"""What the lean client stamps must be the arrival, and reading together must forget nobody."""

from __future__ import annotations

import socket
import struct
import time

import gevent
import gevent.socket
import pytest
from gevent.hub import Waiter

from loadtests.lean import arrival
from loadtests.lean.readiness import PERIOD_S, Readiness

MS = 1_000_000
S = 1000 * MS


def told(wall_ns: int) -> list[tuple[int, int, bytes]]:
    stamp = struct.pack("qq", *divmod(wall_ns, S))
    return [(socket.SOL_SOCKET, arrival.SO_TIMESTAMPNS, stamp)]


def test_what_lay_in_the_kernel_for_a_while_arrived_when_it_came_there() -> None:
    before_ns = time.monotonic_ns()
    at_ns = arrival.moment_ns(told(time.time_ns() - 50 * MS), earliest_ns=0)
    assert before_ns - 51 * MS < at_ns <= time.monotonic_ns() - 50 * MS + MS


def test_without_the_kernels_word_it_arrived_when_it_was_read() -> None:
    before_ns = time.monotonic_ns()
    assert before_ns <= arrival.moment_ns([], earliest_ns=0) <= time.monotonic_ns()


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_wall_clock_that_was_set_meanwhile_moves_no_arrival_out_of_its_bounds(step_s: int) -> None:
    earliest_ns = time.monotonic_ns()
    at_ns = arrival.moment_ns(told(time.time_ns() + step_s * S), earliest_ns)
    assert earliest_ns <= at_ns <= time.monotonic_ns()


def test_the_kernel_tells_of_what_is_read_late_when_it_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = gevent.socket.create_connection(server.getsockname())
        arrival.ask_for(reader)
        writer, _ = server.accept()
        # The kernel may begin to stamp a little after it was asked to.
        time.sleep(0.05)
        sent_ns = time.monotonic_ns()
        writer.sendall(b"x")
        handed_over_ns = time.monotonic_ns()
        time.sleep(0.2)
        _, words, _, _ = reader.recvmsg(10, arrival.SPACE)
        at_ns = arrival.moment_ns(words, earliest_ns=0)
        writer.close()
        reader.close()
    assert sent_ns <= at_ns < handed_over_ns + 100 * MS


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [socket.socketpair() for _ in range(count)]


def test_everybody_with_something_to_read_is_woken_until_it_is_read() -> None:
    readiness, sockets = Readiness(), pairs(20)
    read: list[bytes] = []

    def reads(end: socket.socket) -> None:
        ready: Waiter[None] = Waiter()
        readiness.add(end.fileno(), ready.switch)
        for _ in range(3):
            ready.get()
            ready.clear()
            read.append(end.recv(1))
        readiness.remove(end.fileno())

    readers = [gevent.spawn(reads, ours) for ours, _ in sockets]
    for _, theirs in sockets:
        theirs.sendall(b"abc")
        gevent.sleep(PERIOD_S / 4)
    gevent.joinall(readers, timeout=10.0, raise_error=True)
    assert sorted(read) == sorted([b"a", b"b", b"c"] * len(sockets))
    readiness.close()
    for one in sockets:
        one[0].close()
        one[1].close()


def test_what_comes_after_a_time_of_rest_is_told_too() -> None:
    readiness, [(ours, theirs)] = Readiness(), pairs(1)
    ready: Waiter[None] = Waiter()
    readiness.add(ours.fileno(), ready.switch)
    for _ in range(3):
        gevent.sleep(5 * PERIOD_S)
        theirs.sendall(b"x")
        with gevent.Timeout(10.0):
            ready.get()
        ready.clear()
        assert ours.recv(10) == b"x"
    readiness.remove(ours.fileno())
    readiness.remove(ours.fileno())
    readiness.close()
    ours.close()
    theirs.close()
