"""What is stamped must be the rx_timestamps, and reading together must forget nobody."""

from __future__ import annotations

import socket
import struct
import time
from bisect import bisect_left
from collections import deque
from functools import partial
from itertools import accumulate

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.connections import response_arrivals
from loadtests.connections.event_poller import COARSE_S, FINE_S, PATIENCE_S, TURN_S, EventPoller
from loadtests.connections.response_arrivals import RxTimestamps

MS = 1_000_000
S = 1000 * MS


def stamp(wall_ns: int) -> bytes:
    return struct.pack("qq", *divmod(wall_ns, S))


def moment_ns(wall_ns: int, earliest_ns: int = 0) -> int:
    (moment,) = response_arrivals.rx_times_ns([stamp(wall_ns)], earliest_ns)
    return moment


def test_queued_data_keeps_its_arrival_time() -> None:
    before_ns = time.monotonic_ns()
    at_ns = moment_ns(time.time_ns() - 50 * MS)
    assert before_ns - 51 * MS < at_ns <= time.monotonic_ns() - 50 * MS + MS


def test_without_a_kernel_timestamp_the_read_time_is_the_arrival_time() -> None:
    before_ns = time.monotonic_ns()
    (at_ns,) = response_arrivals.rx_times_ns([response_arrivals.stamp_of_now()], earliest_ns=0)
    assert before_ns - MS <= at_ns <= time.monotonic_ns()


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_wall_clock_step_keeps_arrival_times_in_bounds(step_s: int) -> None:
    earliest_ns = time.monotonic_ns()
    assert earliest_ns <= moment_ns(time.time_ns() + step_s * S, earliest_ns) <= time.monotonic_ns()


def test_arrival_times_are_monotonic() -> None:
    now_ns = time.time_ns()
    moments = response_arrivals.rx_times_ns(
        [stamp(now_ns - 10 * MS), stamp(now_ns - 20 * MS), stamp(now_ns)], 0
    )
    assert moments[0] == moments[1] < moments[2]


def test_kernel_timestamp_gives_the_arrival_time_of_a_late_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as reader:
        reader.connect(server.getsockname())
        response_arrivals.enable_rx_timestamps(reader)
        writer, _ = server.accept()
        # The kernel may begin to stamp a little after it was asked to.
        time.sleep(0.05)
        sent_ns = time.monotonic_ns()
        writer.sendall(b"x")
        handed_over_ns = time.monotonic_ns()
        time.sleep(0.2)
        _, ancillary, _, _ = reader.recvmsg(10, response_arrivals.SPACE)
        (at_ns,) = response_arrivals.rx_times_ns([ancillary[0][2]], earliest_ns=0)
        writer.close()
    assert sent_ns - MS <= at_ns < handed_over_ns + 100 * MS


@given(
    reads=st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=12),
    wanted=st.lists(st.integers(min_value=1, max_value=5), max_size=12),
    batch=st.integers(min_value=1, max_value=4),
)
def test_event_arrives_with_the_read_of_its_last_byte(
    reads: list[int], wanted: list[int], batch: int
) -> None:
    arrivals, read, taken, left = RxTimestamps(0), 0, 0, deque(wanted)
    ends = [*accumulate(reads)]
    for begin in range(0, len(reads), batch):
        arrivals.add(ends[begin : begin + batch], range(begin, begin + batch)[: len(ends) - begin])
        read = ends[min(begin + batch, len(ends)) - 1]
        complete: list[int] = []
        while left and taken + sum(complete) + left[0] <= read:
            complete.append(left.popleft())
        expected = [bisect_left(ends, taken + end) for end in accumulate(complete)]
        taken += sum(complete)
        assert arrivals.of(complete) == expected


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    return [socket.socketpair() for _ in range(count)]


def close(sockets: list[tuple[socket.socket, socket.socket]]) -> None:
    for ours, theirs in sockets:
        ours.close()
        theirs.close()


def test_every_readable_socket_is_called_until_it_is_drained() -> None:
    readiness, sockets = EventPoller(), pairs(20)
    read: list[bytes] = []

    def take(end: socket.socket) -> None:
        read.append(end.recv(1))

    for ours, _ in sockets:
        readiness.add(ours.fileno(), partial(take, ours))
    for _, theirs in sockets:
        theirs.sendall(b"abc")
        gevent.sleep(FINE_S / 4)
    with gevent.Timeout(10.0):
        while len(read) < 3 * len(sockets):
            gevent.sleep(FINE_S)
    assert sorted(read) == sorted([b"a", b"b", b"c"] * len(sockets))
    readiness.close()
    close(sockets)


def test_poller_reports_data_after_an_idle_period() -> None:
    readiness, [(ours, theirs)] = EventPoller(), pairs(1)
    read: list[bytes] = []
    readiness.add(ours.fileno(), lambda: read.append(ours.recv(10)))
    for count in range(1, 4):
        gevent.sleep(5 * FINE_S)
        theirs.sendall(b"x")
        with gevent.Timeout(10.0):
            while len(read) < count:
                gevent.sleep(FINE_S)
    readiness.remove(ours.fileno())
    readiness.remove(ours.fileno())
    readiness.close()
    close([(ours, theirs)])


def test_deferred_callback_runs_without_further_data() -> None:
    readiness, [(ours, theirs)] = EventPoller(), pairs(1)
    called_at: list[float] = []

    def read() -> None:
        ours.recv(10)
        readiness.later(lambda: called_at.append(time.monotonic()))

    readiness.add(ours.fileno(), read)
    theirs.sendall(b"x")
    sent = time.monotonic()
    with gevent.Timeout(10.0):
        while not called_at:
            gevent.sleep(FINE_S)
    assert called_at[0] - sent >= PATIENCE_S
    readiness.close()
    close([(ours, theirs)])


def count_polls(readiness: EventPoller, ours: socket.socket, seconds: float) -> int:
    """How often there was a look at a socket that always has something to read."""
    count = 0

    def read() -> None:
        nonlocal count
        count += 1
        readiness.later(lambda: None)

    readiness.add(ours.fileno(), read)
    gevent.sleep(seconds)
    readiness.remove(ours.fileno())
    return count


def test_poll_period_follows_the_token_interval() -> None:
    readiness, [(ours, theirs)] = EventPoller(), pairs(1)
    theirs.sendall(b"x")
    seconds, coarse = 0.4, 0.4 / COARSE_S + 3
    for _ in range(100):
        readiness.note(10 * COARSE_S)
    # The first look begins with the period that there was.
    count_polls(readiness, ours, 2 * PATIENCE_S)
    assert count_polls(readiness, ours, seconds) <= coarse
    readiness.note(COARSE_S)
    # More than once, since a busy machine count_polls late.
    assert any(count_polls(readiness, ours, seconds) > coarse for _ in range(10))
    readiness.close()
    close([(ours, theirs)])


def test_sockets_are_read_while_callbacks_run() -> None:
    readiness, sockets = EventPoller(), pairs(2)
    done: list[str] = []

    def act(name: str) -> None:
        time.sleep(TURN_S)
        done.append(name)

    def read(end: socket.socket) -> None:
        letter = end.recv(1).decode()
        done.append(f"read {letter}")
        for number in range(5):
            readiness.soon(partial(act, f"{letter}{number}"))
        if letter == "a":
            sockets[1][1].sendall(b"b")

    for ours, _ in sockets:
        readiness.add(ours.fileno(), partial(read, ours))
    sockets[0][1].sendall(b"a")
    with gevent.Timeout(10.0):
        while len(done) < 12:
            gevent.sleep(FINE_S)
    acts = [f"{letter}{number}" for letter in "ab" for number in range(5)]
    assert [name for name in done if name in acts] == acts
    assert done.index("read b") < done.index("a4")
    readiness.close()
    close(sockets)
