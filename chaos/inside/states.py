"""What a request is doing: known in the scheduler by vLLM's own request, told to the worker step by step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.inside.metadata import Transfer, ended, planned
from history.protocol.schedule import State

QUEUED: State = "queued"
LOADING: State = "loading"
PREFILL: State = "prefill"
DECODE: State = "decode"
STORING: State = "storing"

ATTRIBUTE = "kvchaos_states"
"""Of the step's metadata, by which the worker is told."""


ABORTED = "FINISHED_ABORTED"


@dataclass(frozen=True)
class GivenUp:
    """A request that vLLM ended before it was done: its client has left."""

    request: str
    state: State
    """What it was doing."""
    computed: int
    """Tokens of it that were computed or loaded."""
    answered: int
    """Tokens of its answer."""


class RequestStates:
    """The scheduler's view. It keeps vLLM's own requests and looks at them when it is asked."""

    def __init__(self) -> None:
        self._requests: dict[str, Any] = {}
        self._under_way: dict[Transfer, str] = {}
        """Requests by the copies that have been planned and not yet reported as ended."""

    def see(self, request: Any) -> None:
        """A request has come up in the scheduler."""
        self._requests[request.request_id] = request

    def given_up(self, finished: Collection[str]) -> Iterator[GivenUp]:
        """Those of the requests that have ended, and are not forgotten yet, that were given up."""
        for name in sorted(finished):
            request = self._requests.get(name)
            if request is None:
                # It never came up, so it can only have been given up in the queue.
                yield GivenUp(name, QUEUED, 0, 0)
            elif request.status.name == ABORTED:
                answered = request.num_output_tokens
                yield GivenUp(name, self._stage_before(request), request.num_computed_tokens, answered)

    def step(self, metadata: Any, finished: Collection[str], preempted: Collection[str]) -> None:
        """A step was planned: copies begin, and some requests have ended."""
        for request in finished:
            self._requests.pop(request, None)
        if hasattr(metadata, "reqs_to_store"):
            # To 0.20 the scheduler takes the stores of a preempted request for done.
            for request in preempted:
                self._under_way.pop(("store", request), None)
        self._under_way.update(planned(metadata))

    def report(self, connector_output: Any) -> None:
        """The worker has reported copies as ended."""
        for transfer in ended(connector_output):
            self._under_way.pop(transfer, None)

    def of(self, request: str, direction: str | None = None) -> tuple[State, ...]:
        """What a request does now; nothing for one that is unknown."""
        stores = any(
            owner == request and transfer[0] == "store" for transfer, owner in self._under_way.items()
        )
        known = self._requests.get(request)
        now = (_stage(known),) if known is not None and not known.is_finished() else ()
        return (*now, STORING) if stores else now

    def _stage_before(self, request: Any) -> State:
        """What a request was doing when it was given up; its status does not tell any more."""
        name = request.request_id
        if any(owner == name and transfer[0] == "load" for transfer, owner in self._under_way.items()):
            return LOADING
        return _progress(request) if request.num_computed_tokens else QUEUED

    def of_transfers(self) -> dict[str, tuple[State, ...]]:
        """What the requests do whose copies are under way: all that the worker can come upon."""
        return {request: self.of(request) for request in set(self._under_way.values())}


class ToldStates:
    """The worker's view: what it was told with the last step, and what its own copy says."""

    def __init__(self) -> None:
        self._told: Mapping[str, tuple[State, ...]] | None = None

    def learn(self, metadata: Any) -> None:
        """Take in what the scheduler tells of a step; it tells nothing while no fault minds it."""
        self._told = getattr(metadata, ATTRIBUTE, None)

    def of(self, request: str, direction: str | None = None) -> tuple[State, ...]:
        """What a request does in this step, one of whose copies is at hand. Nothing when nothing was told."""
        if self._told is None:
            return ()
        told = self._told.get(request, ())
        own = {"load": LOADING, "store": STORING}.get(direction or "")
        return told if own is None or own in told else (*told, own)


def _stage(request: Any) -> State:
    """By vLLM's own words, which are the same in all releases."""
    status: str = request.status.name
    if status == "WAITING_FOR_REMOTE_KVS":
        return LOADING
    if status != "RUNNING":
        return QUEUED
    return _progress(request)


def _progress(request: Any) -> State:
    return PREFILL if request.num_computed_tokens < request.num_prompt_tokens else DECODE
