"""One of the compared servers: its start and end, and blocks of load on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.module_states import ModuleState, never_firing, settings
from chaos.control_plane import ControlPlane
from history import layout
from history.phase_spec import PhaseSpec
from history.records import RequestRecord
from history.scenario import Scenario, WorkloadSpec
from kvchaos.errors import UsageError
from kvchaos.paths import models_folder, state_folder
from kvchaos.planning.run_plan import RunRequest, make_run_dir, new_run_id, resolve, write_plan
from kvchaos.polling import wait_until
from kvchaos.prometheus.scraper import parse_samples
from kvchaos.servers import tiny_model
from kvchaos.servers.served_model import tiny
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import MEMORY_SHARE_VARIABLE, device_of
from kvchaos.stacks.local_stack import LocalStack, choose_port, make_folders
from kvchaos.stacks.process_group import Process, group_state
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.process_usage import cpu_s
from kvchaos.stacks.server_command import Listening, plan_launch
from kvchaos.stacks.server_files import PLAIN_PARTS, PLUGIN_PARTS
from loadtests.processes import LoadProcesses
from loadtests.target import EndpointFailed, ServerEndpoints

_records = msgspec.json.Decoder(RequestRecord)

REQUESTS = 48
"""Requests of a block: two rounds of all prompts."""
CONCURRENCY = 4
TOKENS = 32
"""Tokens of an answer."""
WORKLOAD = "shared"
GPU_BLOCKS = 60
SEED = 1
MEMORY_SHARE = "0.25"
"""Of a GPU's memory: three servers share one card."""
READY_S = 300.0
ARMED_S, ARMED_POLL_S = 10.0, 0.05
BLOCK_S = 120.0
STEPS = "vllm:iteration_tokens_total_count"
"""Each engine step is one observation of that histogram."""
SCRAPE_S = 10.0
NS = 1e9


class BlockFailed(UsageError):
    """A block could not be measured."""


def scenario(name: str, state: ModuleState) -> Scenario:
    """Prompts that do not all fit the device, so that every block stores and loads."""
    params = {"prefixes": 8, "prefix_tokens": 320, "suffix_tokens": 20, "prompts": 24}
    return Scenario(
        name=name,
        summary="What the chaos module costs.",
        server=settings(state, GPU_BLOCKS),
        workloads={
            WORKLOAD: WorkloadSpec(
                kind="shared_prefix", params={**params, "min_output": TOKENS, "max_output": TOKENS}
            )
        },
        phases=(_phase(0),),
    )


def _phase(number: int) -> PhaseSpec:
    return PhaseSpec(
        name=f"block-{number}",
        role="load",
        workload=WORKLOAD,
        requests=REQUESTS,
        concurrency=CONCURRENCY,
        first=number * REQUESTS,
    )


class BenchFolders(NamedTuple):
    """Where a benchmark finds models and servers, and where its runs go."""

    cache: Path
    runs: Path


class Processors(NamedTuple):
    """The processors of the servers, and those of load generators and everything else."""

    server: Set[int]
    load: Set[int]

    @classmethod
    def shared(cls) -> Processors:
        """All processors for both."""
        every = os.sched_getaffinity(0)
        return cls(every, every)

    @classmethod
    def apart(cls) -> Processors:
        """The last processor for the servers, the others for the load generators. Raises UsageError."""
        every = sorted(os.sched_getaffinity(0))
        if len(every) < 2:
            raise UsageError("--apart needs two processors")
        return cls({every[-1]}, set(every[:-1]))


@contextmanager
def pinned(processors: Set[int]) -> Iterator[None]:
    """Processes that are started meanwhile stay on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class MeasuredServer:
    """A server with or without the chaos module, and its load generator."""

    def __init__(
        self, name: str, server: ServerEnv, state: ModuleState, folders: BenchFolders, processors: Processors
    ) -> None:
        cache, runs = folders
        request = RunRequest(scenario=scenario(name, state), server=server, seed=SEED, workers=1)
        run_id = new_run_id(request)
        run_dir = make_run_dir(runs, run_id)
        self._record = ProcessRegistry(
            state_folder(cache), run_id=run_id, run_dir=run_dir, control_dir=run_dir / layout.CONTROL
        )
        server_folders = make_folders(
            run_dir, self._record, PLAIN_PARTS if state == "absent" else PLUGIN_PARTS
        )
        weights = tiny(tiny_model.ensure_model(models_folder(cache)))
        launch = plan_launch(
            server,
            request.scenario.server,
            weights,
            Listening(choose_port(None)),
            server_folders,
            device_of(server.platform, {MEMORY_SHARE_VARIABLE: MEMORY_SHARE, **os.environ}),
        )
        plan = write_plan(resolve(request, run_id, launch, weights), run_dir)
        self._url = launch.base_url
        self._stack = LocalStack(launch, server_folders, run_dir, self._record)
        self._load = LoadProcesses(run_dir, plan, 1, run_dir / layout.LOADER_LOG)
        self._requests = run_dir / layout.requests_file(0)
        self._read = 0
        self._processors = processors
        self._control = None if state == "absent" else ControlPlane(run_dir / layout.CONTROL)

    def start(self) -> None:
        """Start server and load generator, without waiting for them."""
        with pinned(self._processors.server):
            self._stack.start()
        with pinned(self._processors.load):
            self._load.start()

    def wait_ready(self) -> None:
        """Wait until both can take load. Raises BlockFailed when the load generator ends first."""
        self._stack.wait_ready(READY_S)
        if not self._load.wait_ready(READY_S):
            raise BlockFailed("; ".join(self._load.failures()) or "the load generator did not get ready")

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Faults that never fire are armed meanwhile. Raises BlockFailed when the server does not confirm."""
        assert self._control is not None
        began_ns = time.time_ns()
        self._control.arm(SEED, never_firing())
        self._confirm("armed", began_ns)
        try:
            yield
        finally:
            healed_ns = time.time_ns()
            self._control.heal()
        self._confirm("healed", healed_ns)

    def _confirm(self, event: str, since_ns: int) -> None:
        control, faults = self._control, never_firing()
        assert control is not None
        if not wait_until(lambda: control.confirmed(event, faults, since_ns), ARMED_S, ARMED_POLL_S):
            raise BlockFailed(f"the server did not report all faults {event} within {ARMED_S:g} s")

    def processes(self) -> tuple[Process, ...]:
        """The server's processes."""
        assert self._stack.pid is not None
        return group_state(self._record.group(self._stack.pid)).processes

    def cpu_s(self) -> float:
        """Processor time so far of all of the server's processes, seconds."""
        return sum(cpu_s(process.pid) for process in self.processes())

    def block(self, number: int) -> Block:
        """Send the requests of one block. Raises BlockFailed when not all end well."""
        self._stack.observe()
        if self._control is not None:
            self._control.renew()
        cpu_before, steps_before = self.cpu_s(), self._steps()
        self._load.start_phase(_phase(number))
        if not self._load.wait_done(BLOCK_S):
            raise BlockFailed("; ".join(self._load.failures()) or f"no end within {BLOCK_S:g} s")
        cpu_s, steps = self.cpu_s() - cpu_before, self._steps() - steps_before
        records = self._new_records()
        if len(records) != REQUESTS or any(record.outcome != "ok" for record in records):
            raise BlockFailed(f"not all {REQUESTS} requests of a block ended well; see {self._requests}")
        return block_of(records, cpu_s=cpu_s, steps=steps)

    def close(self) -> None:
        """End load and server. Safe to repeat."""
        try:
            self._load.close()
        finally:
            self._stack.stop()
            self._record.close()

    def _steps(self) -> float:
        try:
            with ServerEndpoints(self._url, SCRAPE_S) as server:
                samples = parse_samples(server.metrics().decode())
        except EndpointFailed as error:
            raise BlockFailed(str(error)) from error
        return sum(value for key, value in samples.items() if key.partition("{")[0] == STEPS)

    def _new_records(self) -> list[RequestRecord]:
        with self._requests.open("rb") as file:
            file.seek(self._read)
            lines = file.readlines()
            self._read = file.tell()
        return [_records.decode(line) for line in lines]


def block_of(records: list[RequestRecord], *, cpu_s: float, steps: float) -> Block:
    """The figures of a block whose requests all ended well, with more than one token each."""
    begin = min(record.start_ns for record in records)
    seconds = max(record.start_ns + record.end_us * 1000 for record in records) / NS - begin / NS
    tokens = sum(len(record.token_ids) for record in records)
    streamed_us = sum(record.chunk_us[-1] - record.chunk_us[0] for record in records)
    later_tokens = sum(sum(record.chunk_tokens[1:]) for record in records)
    return Block(
        tokens_per_s=tokens / seconds,
        first_token_ms=median(record.first_us or 0 for record in records) / 1e3,
        between_tokens_ms=streamed_us / later_tokens / 1e3,
        step_ms=seconds * 1e3 / steps,
        cpu_us_per_token=cpu_s * 1e6 / tokens,
    )
