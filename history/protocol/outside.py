"""The evidence of faults from outside the server, of their firings and of their reverting, by kind."""

from __future__ import annotations

from collections.abc import Sequence

from history.protocol.evidence import Count, Evidence, Firing, Time

NO_STATUS = 0


class OutsideFiring(Firing, frozen=True):
    """Base of them all."""

    begun_ns: Time | None = None
    """Time before the injection began, wall clock ns."""
    struck_ns: Time | None = None
    """Time at which the injection was applied, wall clock ns."""

    @property
    def named(self) -> Sequence[str]:
        """Ids of the requests that it had to do with, where it names them."""
        return ()


class Paused(OutsideFiring, frozen=True):
    """A process group by its signal and states, or a container by its status."""

    signal: str | None = None
    pids: Sequence[int] = ()
    state: str | None = None
    container: str | None = None
    status: str | None = None


class Ended(OutsideFiring, frozen=True):
    """An incarnation that was to end. Of `kill`, `stop`, `engine_kill` and `memory_squeeze`."""

    pid: int | None = None
    """Process id of its leader."""
    pids: Sequence[int] = ()
    container: str | None = None
    log_line: Count | None = None
    """Lines that the server's log had before."""
    signal: str | None = None
    forced: bool = False
    """It did not end by itself in time."""
    code: int | None = None
    """Exit code of the leader, where that has ended."""
    seconds: float | None = None
    """Until it had."""
    engines: Sequence[int] = ()
    """Processes that were killed alone."""
    used_mib: Count | None = None
    limit_mib: Count | None = None
    gone: Sequence[int] = ()
    """Processes that the kernel ended."""


class CpuSqueezed(OutsideFiring, frozen=True):
    """The quota that was applied, and how often it throttled the container. Of `cpu_squeeze`."""

    cpus: float | None = None
    throttled_periods: Count | None = None


class NetworkCut(OutsideFiring, frozen=True):
    """Connections that were reset and connects that were refused. Of `network_cut`."""

    connections: Count = 0
    """That were reset."""
    refused: Count = 0
    lost_bytes: Count = 0
    requests: Sequence[str] = ()

    @property
    def named(self) -> Sequence[str]:
        """Ids of the requests on the connections that were cut."""
        return self.requests


class BytesDelayed(OutsideFiring, frozen=True):
    """Runs of bytes that had to wait. Of `network_stall`, `network_latency` and `network_loss`."""

    waiting: Count = 0
    passed: Count = 0
    bytes: Count = 0
    """Bytes of the chunks that have passed."""
    shortest_ms: float = 0.0
    longest_ms: float = 0.0
    round_trip_ms: float = 0.0
    """The latency that `network_latency` adds."""
    requests: Sequence[str] = ()

    @property
    def named(self) -> Sequence[str]:
        """Ids of the requests whose bytes were delayed."""
        return self.requests


class SlowRead(OutsideFiring, frozen=True):
    """An answer that the client read slowly, and what of it the server still had. Of `slow_reader`."""

    bytes: Count = 0
    unread_bytes: Count = 0
    unread_ms: float = 0.0
    requests: Sequence[str] = ()

    @property
    def named(self) -> Sequence[str]:
        """Ids of the requests that were read slowly."""
        return self.requests


class WrongRequestsSent(OutsideFiring, frozen=True):
    """An entry for each request that was sent, in the first four."""

    forms: Sequence[str] = ()
    statuses: Sequence[int] = ()
    """HTTP status; `NO_STATUS` where no answer came."""
    ms: Sequence[int] = ()
    bodies: Sequence[str] = ()
    """Begins of the answers."""
    unsent: Sequence[str] = ()
    """Forms that were not sent, because the fault was healed first."""


class CachesReset(OutsideFiring, frozen=True):
    """The request that resets the prefix cache was sent under load. Of `cache_reset`."""

    status: int = NO_STATUS
    """HTTP status; `NO_STATUS` where no response came."""
    ms: Count = 0
    body: str = ""
    """Begin of the response."""


class AbortStorm(OutsideFiring, frozen=True):
    """Clients that connected together and aborted together. Of `abort_storm`."""

    clients: Count = 0
    sent: Count = 0
    begun: Count = 0
    """Requests with at least one token at the disconnect."""
    answered: Count = 0
    """Requests with a complete answer at the disconnect."""
    left_ns: Time | None = None
    requests: Sequence[str] = ()

    @property
    def named(self) -> Sequence[str]:
        """Ids of the requests of these clients."""
        return self.requests


class PrometheusKilled(OutsideFiring, frozen=True):
    """The signal that ended Prometheus. Of `prometheus_kill`."""

    signal: str | None = None


class Continued(Evidence, frozen=True):
    """The paused processes run again, or the container has this status. Of `pause`."""

    signal: str | None = None
    processes: Count | None = None
    status: str | None = None


class Serves(Evidence, frozen=True):
    """Another incarnation serves, or `memory_squeeze` ended nothing. Of faults that end an incarnation."""

    pid: int | None = None
    ready_s: float | None = None
    outlived_its_engine: bool | None = None
    """Whether the server outlived its engine, for faults that end the engine alone."""
    alone_s: float | None = None
    """How long the rest lived without its engine."""
    gone: Sequence[int] | None = None
    """Empty: no process of the server was ended."""


class CpuReturned(Evidence, frozen=True):
    """The quota of the container after healing, us a period; None for no quota."""

    quota_us: int | None = None


class RequestsSent(Evidence, frozen=True):
    """Number of malformed or oversized requests that were sent."""

    requests: Count


class ClientsLeft(Evidence, frozen=True):
    """Number of clients of a crowd that have disconnected."""

    clients: Count


class PrometheusRuns(Evidence, frozen=True):
    """Whether Prometheus runs again after healing."""

    runs: bool = True


REVERTED: dict[str, type[Evidence]] = {}
"""What a note of the reverting holds besides, by kind of fault; of the network all that the fault did. The
catalogue of faults registers the type of each."""
