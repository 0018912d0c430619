"""The requests of a step: whose copy is which, and the state that each request is in.

The scheduler reads the state from vLLM's request and sends it to the worker with each step. The metadata of
a step has three shapes, by release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from history.protocol.schedule import State

Transfer = tuple[str, int | str]
"""A copy as the scheduler knows it: load or store, and the job; to 0.20 the request, for all its copies."""


def planned(metadata: Any) -> Iterator[tuple[Transfer, str]]:
    """The copies that a step plans, with their requests."""
    if hasattr(metadata, "reqs_to_load"):  # to 0.20
        for request in metadata.reqs_to_load:
            yield ("load", request), request
        for request in metadata.reqs_to_store:
            yield ("store", request), request
        return
    for job, entry in metadata.load_jobs.items():
        yield ("load", job), entry.req_id
    for job, entry in metadata.store_jobs.items():
        yield ("store", job), entry.req_id


def ended(connector_output: Any) -> Iterator[Transfer]:
    """The copies that the worker reports as ended. To 0.20 it reports stores when their request has ended."""
    for request in connector_output.finished_recving or ():
        yield "load", request
    for request in connector_output.finished_sending or ():
        yield "store", request
    meta = getattr(connector_output, "kv_connector_worker_meta", None)
    for job in getattr(meta, "completed_jobs", ()):
        yield "load", job
        yield "store", job


def jobs(metadata: Any) -> Iterator[tuple[int, str]]:
    """The copies that a step plans, from 0.21 on: number of the job, and request."""
    for planned in (getattr(metadata, "load_jobs", {}), getattr(metadata, "store_jobs", {})):
        for number, job in planned.items():
            yield number, job.req_id


def specs(metadata: Any) -> Iterator[tuple[Any, str]]:
    """The copies that a step plans, to 0.20: the very spec that the worker is handed, and request."""
    for planned in (getattr(metadata, "reqs_to_load", {}), getattr(metadata, "reqs_to_store", {})):
        for request, spec in planned.items():
            yield spec, request


def loads(metadata: Any) -> Iterator[tuple[str, list[int]]]:
    """The loads that a step starts and a later one reports: request and device blocks."""
    if hasattr(metadata, "reqs_to_load"):  # to 0.20
        for request, (_, device) in metadata.reqs_to_load.items():
            yield request, device.block_ids.tolist()
        return
    for job in metadata.load_jobs.values():
        # From 0.33 on a load can be done within its step; it is never reported as finished.
        if not getattr(job, "sync", False):
            device = job.dst_spec if hasattr(job, "dst_spec") else job.transfer_spec[1]
            yield job.req_id, device.block_ids.tolist()


QUEUED: State = "queued"
LOADING: State = "loading"
PREFILL: State = "prefill"
DECODE: State = "decode"
STORING: State = "storing"

ATTRIBUTE = "kvchaos_states"
"""Attribute of the step's metadata that carries the states to the worker."""


ABORTED = "FINISHED_ABORTED"


@dataclass(frozen=True)
class AbortedRequest:
    """A request that vLLM aborted because its client disconnected."""

    request: str
    state: State
    """What it was doing."""
    computed: int
    """Tokens of it that were computed or loaded."""
    answered: int
    """Tokens of its answer."""


class RequestStates:
    """The scheduler's view. It keeps references to vLLM's own requests and reads their state on demand."""

    def __init__(self) -> None:
        self._requests: dict[str, Any] = {}
        self._in_flight: dict[Transfer, str] = {}
        """Requests by the copies that have been planned and not yet reported as ended."""
        self._complete = True
        """Whether every request was tracked from its begin."""

    def forget(self) -> None:
        """Forget all requests. Those that were not tracked from their begin are unknown from now on."""
        self._requests.clear()
        self._in_flight.clear()
        self._complete = False

    def track(self, request: Any) -> None:
        """Track a request of the scheduler."""
        self._requests[request.request_id] = request

    def aborted(self, finished: Collection[str]) -> Iterator[AbortedRequest]:
        """The aborted ones of the finished requests. Call before `step`, which drops finished requests."""
        for name in sorted(finished):
            request = self._requests.get(name)
            if request is None:
                # It was never scheduled, so it can only have been aborted in the queue.
                if self._complete:
                    yield AbortedRequest(name, QUEUED, 0, 0)
            elif request.status.name == ABORTED:
                answered = request.num_output_tokens
                yield AbortedRequest(name, self._stage_before(request), request.num_computed_tokens, answered)

    def step(self, metadata: Any, finished: Collection[str], preempted: Collection[str]) -> None:
        """A step was planned: copies begin, and some requests have ended."""
        for request in finished:
            self._requests.pop(request, None)
        if hasattr(metadata, "reqs_to_store"):
            # To 0.20 the scheduler takes the stores of a preempted request for done.
            for request in preempted:
                self._in_flight.pop(("store", request), None)
        self._in_flight.update(planned(metadata))

    def report(self, connector_output: Any) -> None:
        """The worker has reported copies as ended."""
        for transfer in ended(connector_output):
            self._in_flight.pop(transfer, None)

    def of(self, request: str, direction: str | None = None) -> tuple[State, ...]:
        """The states of a request now; empty for an unknown one."""
        stores = any(
            owner == request and transfer[0] == "store" for transfer, owner in self._in_flight.items()
        )
        known = self._requests.get(request)
        now = (_stage(known),) if known is not None and not known.is_finished() else ()
        return (*now, STORING) if stores else now

    def _stage_before(self, request: Any) -> State:
        """The state before the abort; the request's status does not show it any more."""
        name = request.request_id
        if any(owner == name and transfer[0] == "load" for transfer, owner in self._in_flight.items()):
            return LOADING
        return _progress(request) if request.num_computed_tokens else QUEUED

    def of_transfers(self) -> dict[str, tuple[State, ...]]:
        """The states of the requests with copies in flight: all that the worker can encounter."""
        return {request: self.of(request) for request in set(self._in_flight.values())}


class ReportedStates:
    """The worker's view: the states reported with the last step, and the current copy."""

    def __init__(self) -> None:
        self._reported: Mapping[str, tuple[State, ...]] | None = None

    def learn(self, metadata: Any) -> None:
        """Take over the states of a step; the scheduler sends none while no fault filters by them."""
        self._reported = getattr(metadata, ATTRIBUTE, None)

    def forget(self) -> None:
        """Forget the states of the last step."""
        self._reported = None

    def of(self, request: str, direction: str | None = None) -> tuple[State, ...]:
        """The states of a request during one of its copies. Empty when none were reported."""
        if self._reported is None:
            return ()
        reported = self._reported.get(request, ())
        own = {"load": LOADING, "store": STORING}.get(direction or "")
        return reported if own is None or own in reported else (*reported, own)


def _stage(request: Any) -> State:
    """The state by vLLM's names of the statuses, which are the same in all releases."""
    status: str = request.status.name
    if status == "WAITING_FOR_REMOTE_KVS":
        return LOADING
    if status != "RUNNING":
        return QUEUED
    return _progress(request)


def _progress(request: Any) -> State:
    return PREFILL if request.num_computed_tokens < request.num_prompt_tokens else DECODE


class RequestsOfJobs:
    """Requests of the copies that have been planned and not yet begun.

    The metadata of a step names the request of a copy; the copy itself only has a job number.
    """

    def __init__(self) -> None:
        self._by_job: dict[int, str] = {}
        self._by_spec: dict[int, tuple[Any, str]] = {}
        """Entries by identity of the spec; the reference keeps the identity from being reused."""

    def learn(self, metadata: Any) -> None:
        """Take in what a step plans. To be called before its copies begin; twice does no harm."""
        self._by_job.update(jobs(metadata))
        self._by_spec.update({id(spec): (spec, request) for spec, request in specs(metadata)})

    def forget(self) -> None:
        """Forget all copies."""
        self._by_job.clear()
        self._by_spec.clear()

    def take(self, job: int, spec: Any = None) -> str | None:
        """The request of a copy that begins now; None when no step has planned it."""
        _, request = self._by_spec.pop(id(spec), (None, None))
        return self._by_job.pop(job, request)
