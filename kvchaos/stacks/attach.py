"""The attach stack: a server that is already there and stays when the run has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, Field, ValidationError

from chaos.outside.faults.server_termination import Restarter
from history.events import ContainerAction, ServerStart
from history.metrics import parse_key
from history.records import ResourceRecord
from history.scenario import Scenario, ServerSettings
from history.strict_model import Strict
from kvchaos.errors import UsageError
from kvchaos.polling import wait_until
from kvchaos.prometheus.scraper import BadScrape, Samples, parse_samples
from kvchaos.stacks.stack import GRACE_S, ServerStartFailed
from loadtests.target import EndpointFailed, ServerEndpoints, is_healthy, loopback_url

TIMEOUT_S = 10.0
POLL_S = 0.25
CACHE = "vllm:cache_config_info"
BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")


T = TypeVar("T", bound=BaseModel)


class _Response(BaseModel):
    """The part of a response that is read."""


class _Version(_Response):
    version: str


class _Model(_Response):
    id: str
    max_model_len: int = Field(gt=0)


class _Models(_Response):
    data: tuple[_Model, ...] = Field(min_length=1)


class AttachedServer(Strict):
    """A server as it describes itself."""

    name: str
    """Its address."""
    vllm: str
    torch: str = "unknown"
    python_version: str = "unknown"
    base_url: str
    model: str
    max_model_len: int
    block_size: int
    gpu_blocks: int

    @property
    def release(self) -> Version:
        """vLLM's version without the label of its build."""
        return Version(Version(self.vllm).public)


def inspect_server(url: str) -> AttachedServer:
    """Identify a server. Raises UsageError when it is none, is busy, or is not on this machine."""
    try:
        base_url = loopback_url(url)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        with ServerEndpoints(base_url, TIMEOUT_S) as endpoints:
            return _described(base_url, endpoints)
    except EndpointFailed as error:
        raise UsageError(str(error)) from error


def _described(base_url: str, endpoints: ServerEndpoints) -> AttachedServer:
    samples = _samples(base_url, endpoints.metrics())
    busy = sum(value for key, value in samples.items() if key.startswith(BUSY))
    if busy:
        raise UsageError(
            f"{base_url}: {busy:g} requests of other clients are in flight; stop these clients first"
        )
    model = _read(_Models, f"{base_url}/v1/models", endpoints.models()).data[0]
    version = _read(_Version, f"{base_url}/version", endpoints.version()).version
    try:
        cache = next(parse_key(key)[1] for key in samples if key.startswith(CACHE))
        return AttachedServer(
            name=urlsplit(base_url).netloc,
            vllm=str(Version(version)),
            base_url=base_url,
            model=model.id,
            max_model_len=model.max_model_len,
            block_size=int(cache["block_size"]),
            gpu_blocks=int(cache["num_gpu_blocks"]),
        )
    except (StopIteration, InvalidVersion, KeyError, ValueError) as error:
        raise UsageError(
            f"{base_url}: no vLLM server, or one whose version or metrics cannot be read: {error!r}"
        ) from error


def attached_scenario(scenario: Scenario, server: AttachedServer) -> Scenario:
    """The scenario with the server's own settings, and without expectations of what these would bring.

    Raises UsageError for one that needs more than load.
    """
    if scenario.faults:
        raise UsageError(
            f"scenario {scenario.name} has faults, which an attached server cannot have; choose another"
        )
    settings = ServerSettings(
        gpu_blocks=server.gpu_blocks,
        block_size=server.block_size,
        max_model_len=server.max_model_len,
        offload=scenario.server.offload,
        chaos=False,
    )
    return scenario.model_copy(update={"server": settings, "expect": ()})


class AttachStack:
    """Starts nothing and ends nothing."""

    def __init__(self, server: AttachedServer) -> None:
        self._server = server

    def start(self) -> None:
        """Do nothing: `inspect_server` has found a running server."""

    def wait_ready(self, deadline_s: float) -> None:
        """Raises ServerStartFailed."""
        if not wait_until(self.alive, deadline_s, POLL_S):
            raise ServerStartFailed(
                f"{self._server.base_url}/health did not answer 200 within {deadline_s:g} s",
                exit_code=None,
                tail=(),
            )

    def identity(self) -> ServerStart:
        """The address: nothing else of the server is known."""
        return ServerStart(url=self._server.base_url)

    def alive(self) -> bool:
        """Whether /health answers; nothing else of the process can be observed."""
        return is_healthy(self._server.base_url, TIMEOUT_S)

    def exit_code(self) -> int | None:
        """The exit code of a server that is not ours cannot be observed."""
        return None

    def observe(self) -> None:
        """Nothing of it is registered, since nothing of it is ended."""

    def container_events(self) -> tuple[ContainerAction, ...]:
        """There is no container."""
        return ()

    def resources(self) -> ResourceRecord | None:
        """None: the processes of an attached server are not observed."""
        return None

    def fault_target(self, restarter: Restarter) -> None:
        """Its processes are not ours."""

    def serve(self, run_dir: Path) -> None:
        """Nothing of it is written down."""

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Do nothing: the server is not ours."""


def _read(kind: type[T], url: str, body: bytes) -> T:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise UsageError(f"{url}: not what a vLLM server answers: {problem}") from error


def _samples(base_url: str, body: bytes) -> Samples:
    try:
        return parse_samples(body.decode("utf-8", "replace"))
    except BadScrape as error:
        raise UsageError(f"{base_url}/metrics: {error}") from error
