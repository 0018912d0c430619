"""Resolves scenario, server and seed into the plan of a run, `run.yaml`; also replays a stored run."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

from chaos import fault_catalogue
from chaos.inside.trigger_decisions import draw
from history import layout
from history.expected_findings import DeclaredEffect, Expectation
from history.plan import RunPlan, Versions
from history.reader import UnreadableRun, read_faults, read_plan
from history.records import FaultRecord
from history.scaling import Scaling
from history.scenario import ClientKind, FaultSpec, Scenario, StackName, Trigger
from history.strict_yaml import dump_yaml
from kvchaos import __version__
from kvchaos.bugs.bug_catalogue import contains, expectation_for, known_bugs
from kvchaos.errors import UsageError
from kvchaos.planning.master_address import MasterAddress
from kvchaos.planning.scale.expected_at_scale import by_chance
from kvchaos.planning.scenario_file import check_fit
from kvchaos.servers.served_model import ServedModel
from kvchaos.servers.server_registry import ServerEnv, logprob_tolerance
from kvchaos.stacks.attach import AttachedServer, attached_scenario
from kvchaos.stacks.server_command import Launch

NEEDED_BYTES = 200 << 20
"""A run of the scenarios at hand leaves some 20 MB; the rest is room for a log that goes wild."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as the user requested it."""

    scenario: Scenario
    server: ServerEnv | AttachedServer
    seed: int
    workers: int
    listen: MasterAddress | None = None
    """Where the workers join; None: they are started here."""
    stack: StackName = "local"
    grafana: bool = False
    """Whether a compose stack runs Grafana, which stays when the run has ended."""
    logprob_tolerance: float | None = None
    """Allowed difference of the logprobs of right answers; None: that of the server's build."""
    prometheus: bool = False
    """Whether a Prometheus scrapes the run, too."""
    client: ClientKind = "openai"
    as_release: Version | None = None
    """The release whose known bugs and effects of faults are expected; None: the server's own."""
    scaling: Scaling | None = None
    """How the scenario was made larger; None: its sizes are those of the file."""
    altered: bool = False
    """Whether phases or faults differ from the file: what always shows there need not show."""

    @property
    def release(self) -> Version:
        """The release that the run is judged by."""
        return self.as_release or self.server.release


def new_run_id(request: RunRequest) -> str:
    """A name for the run that says what it is and is new."""
    server = "".join(char if char.isalnum() else "-" for char in request.server.name.lower())
    moment = datetime.now(UTC).strftime("%m%d-%H%M%S")
    return f"{request.scenario.name}-{server}"[:43].rstrip("-") + f"-{moment}-{secrets.token_hex(2)}"


def make_run_dir(runs: Path, run_id: str) -> Path:
    """Make the run directory. Raises UsageError when it cannot be made or the disk is nearly full."""
    run_dir = runs / run_id
    try:
        run_dir.mkdir(parents=True)
        free = os.statvfs(run_dir)
    except OSError as error:
        raise UsageError(
            f"{run_dir}: cannot be created: {error.strerror}; set KVCHAOS_RUNS to another folder"
        ) from error
    if free.f_bavail * free.f_frsize < NEEDED_BYTES:
        run_dir.rmdir()
        raise UsageError(
            f"{runs}: less than {NEEDED_BYTES >> 20} MiB free; free disk space, or set KVCHAOS_RUNS"
        )
    return run_dir


def resolve(
    request: RunRequest, run_id: str, launch: Launch, model: ServedModel, base_url: str | None = None
) -> RunPlan:
    """The plan with nothing left open. `base_url` is the address to use when it is not the server's own."""
    scenario = swarm(request.scenario, request.seed)
    return RunPlan(
        run_id=run_id,
        seed=request.seed,
        stack=request.stack,
        scenario=scenario,
        expectation=_expectation(request),
        effects=tuple(declared_effects(scenario.faults, request.release)),
        workers=request.workers,
        listen=str(request.listen) if request.listen else None,
        logprob_tolerance=_tolerance(request),
        as_release=str(request.as_release) if request.as_release else None,
        client=request.client,
        base_url=base_url or launch.base_url,
        command=launch.command,
        environment=launch.environment,
        versions=_versions(request, model.fingerprint),
        on_gpu=isinstance(request.server, ServerEnv) and request.server.platform == "cuda",
        scaling=request.scaling,
        kv_token_bytes=model.token_bytes,
        notes_evidence=True,
        sealed=True,
        created=_now(),
    )


def _expectation(request: RunRequest) -> Expectation:
    """At another scale than that of the tests, or with other phases, no bug is known to show always."""
    expectation = expectation_for(request.scenario, request.release, known_bugs())
    is_as_tested = request.scaling is None and not request.altered
    return expectation if is_as_tested else by_chance(expectation)


def _tolerance(request: RunRequest) -> float:
    if request.logprob_tolerance is not None:
        return request.logprob_tolerance
    return logprob_tolerance(request.server) if isinstance(request.server, ServerEnv) else 0.0


def resolve_attached(request: RunRequest, server: AttachedServer, run_id: str) -> RunPlan:
    """The plan for a server that is there. Raises UsageError for a scenario that needs more than load."""
    scenario = attached_scenario(request.scenario, server)
    check_fit(scenario)
    return RunPlan(
        run_id=run_id,
        seed=request.seed,
        stack=request.stack,
        scenario=scenario,
        expectation=expectation_for(scenario, request.release, known_bugs()),
        effects=tuple(declared_effects(scenario.faults, request.release)),
        workers=request.workers,
        listen=str(request.listen) if request.listen else None,
        logprob_tolerance=_tolerance(request),
        as_release=str(request.as_release) if request.as_release else None,
        client=request.client,
        base_url=server.base_url,
        model_name=server.model,
        command=(),
        environment={},
        versions=_versions(request, UNKNOWN),
        notes_evidence=True,
        sealed=True,
        created=_now(),
    )


def _versions(request: RunRequest, model_print: str) -> Versions:
    server = request.server
    return Versions(
        kvchaos=__version__,
        vllm=server.vllm,
        torch=server.torch,
        python=server.python_version,
        server_name=server.name,
        model=model_print,
        git=git_state(Path(__file__).parents[2]),
        host=host(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def swarm(scenario: Scenario, seed: int) -> Scenario:
    """The scenario with this run's faults: in a swarm the seed leaves about half of them out, never all."""
    if not scenario.swarm or not scenario.faults:
        return scenario
    lots = {fault.id: draw(seed, fault.id, "swarm", 0) for fault in scenario.faults}
    least = min(lots.values())
    drawn = tuple(fault for fault in scenario.faults if lots[fault.id] < 2**63 or lots[fault.id] == least)
    return scenario.model_copy(update={"faults": drawn})


def declared_effects(faults: Iterable[FaultSpec], release: Version) -> Iterator[DeclaredEffect]:
    """What these faults bring on a release of vLLM."""
    for fault in faults:
        for effect in fault_catalogue.effects(fault.kind, fault.params):
            if not contains(effect.releases, release):
                continue
            yield DeclaredEffect(
                fault=fault.id,
                rules=effect.rules,
                scope=effect.scope,
                least=effect.least,
                most=effect.most,
                direction=effect.direction,
            )


def write_plan(plan: RunPlan, run_dir: Path) -> Path:
    """Write run.yaml. Raises OSError."""
    path = run_dir / layout.PLAN
    path.write_text(dump_yaml(plan.model_dump(mode="json")), encoding="utf-8")
    return path


def git_state(folder: Path) -> str:
    """Commit of a checkout, "+changes" when it is not clean, "unknown" outside one."""
    # A repository around an installation says nothing about the software in it.
    if not (folder / ".git").exists():
        return UNKNOWN
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return UNKNOWN
    return f"{commit}+changes" if _git(folder, "status", "--porcelain") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def host() -> str:
    """Kernel, machine type, processors, memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.release()} {platform.machine()}, "
        f"{os.cpu_count()} processors, {memory:.0f} GiB"
    )


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to run again."""

    scenario: Scenario
    seed: int
    server: str
    stack: StackName
    client: ClientKind
    scaling: Scaling | None


def replay_of(run_dir: Path) -> ReplayPlan:
    """The run with its faults pinned to the occurrences at which they fired. Raises UsageError."""
    try:
        plan, journal = read_plan(run_dir), read_faults(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    scenario = pin_to_occurrences(plan.scenario, journal)
    return ReplayPlan(scenario, plan.seed, plan.versions.server_name, plan.stack, plan.client, plan.scaling)


def fired_occurrences(journal: list[FaultRecord], fault: str) -> tuple[int, ...]:
    """The occurrences at which a fault fired, in ascending order.

    One server process holds each site, so that numbers are not mixed up.
    """
    return tuple(
        sorted(
            record.n
            for record in journal
            if record.event == "fired" and record.fault == fault and record.n is not None
        )
    )


def pin_to_occurrences(scenario: Scenario, journal: list[FaultRecord]) -> Scenario:
    """The scenario with `nth` triggers made of the journal; a fault that never fired is left out."""
    faults = []
    for fault in scenario.faults:
        occurrences = fired_occurrences(journal, fault.id)
        if occurrences:
            # The numbers are those of the arrivals that matched the states.
            trigger = Trigger(nth=occurrences, states=fault.trigger.states)
            faults.append(fault.model_copy(update={"trigger": trigger}))
    # The choice of the swarm is part of what is replayed.
    return scenario.model_copy(update={"faults": tuple(faults), "swarm": False})
