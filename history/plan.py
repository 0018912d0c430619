"""The plan of a run as data: `run.yaml` holds it, and leaves nothing open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from history.expected_findings import DeclaredEffect, Expectation
from history.phase_spec import PhaseSpec
from history.scaling import Scaling
from history.scenario import ClientKind, Limits, Scenario, ServerSettings, StackName, WorkloadSpec
from history.stack_capabilities import CAPABILITIES
from history.strict_model import Name, Strict


class Versions(Strict):
    """Everything that answers "what exactly ran?"."""

    kvchaos: str
    vllm: str
    torch: str
    python: str
    server_name: str
    """The name under which the server's environment is registered."""
    model: str
    """SHA-256 of the model's files."""
    git: str
    """Commit of this software with "+changes" when the tree was not clean; "unknown" outside a checkout."""
    host: str
    """Kernel, machine type, processors, memory."""


class PrometheusPlan(Strict):
    """The Prometheus that watches a run beside the suite."""

    version: str
    url: str
    suite_port: int = Field(gt=0, lt=65536)
    """Where the suite serves its own metrics, on 127.0.0.1."""
    command: tuple[str, ...] = ()
    """How it is started; empty where it is a part of the stack."""


class RunPlan(Strict):
    """The resolved plan of one run, as stored in `run.yaml`: the only truth from there on."""

    schema_version: Literal[2] = 2
    run_id: Name
    seed: int = Field(ge=0, lt=2**63)
    stack: StackName
    scenario: Scenario
    expectation: Expectation
    """What this release is expected to do in the scenario (everything passes where it is empty)."""
    effects: tuple[DeclaredEffect, ...] = ()
    """What the faults bring on this release. None in runs of earlier versions, whose expectation says it."""
    workers: int = Field(default=1, ge=1, le=64)
    """Load generator processes."""
    listen: str | None = None
    """HOST:PORT at which they join from elsewhere; None: they are processes of the conductor's machine."""
    client: ClientKind = "openai"
    """What they send the load with; like their number it changes nothing of what is asked."""
    logprob_tolerance: float = Field(default=0.0, ge=0.0)
    """Equal answers of this server's build may differ by so much in a logprob; 0: equal bit for bit."""
    as_release: str | None = None
    """The release that the run is judged by, where it was given; None: the version of vLLM says it."""
    base_url: str
    load_url: str | None = None
    """What the load asks where that is not the server itself but what lies before it."""
    model_name: str = "tiny"
    """Under which the server serves its model."""
    command: tuple[str, ...]
    environment: dict[str, str]
    """What was added to the server's environment."""
    versions: Versions
    on_gpu: bool = False
    """Whether the server computes on a GPU of this machine; False in runs of earlier versions."""
    prometheus: PrometheusPlan | None = None
    """None: the suite's own scrapes are the only record."""
    preceded_by: tuple[Name, ...] = ()
    """Earlier runs of the same server, in order: what it counted in them is not of this run."""
    fresh_because: str | None = None
    """Why a campaign started a server for this run; None: it did not, or the run was the only one."""
    repeats: Name | None = None
    """The run that this one repeats on a fresh server."""
    notes_evidence: bool = False
    """Whether the run ends with an event that says how many lines its files have; older runs do not."""
    sealed: bool = False
    """Whether the run seals its files when all are closed; older runs do not."""
    scaling: Scaling | None = None
    """How the scenario was made larger; None: its sizes are those of the file."""
    kv_token_bytes: int | None = Field(default=None, gt=0)
    """KV cache bytes that one token takes; None when that is not known."""
    created: str
    """UTC, ISO 8601."""

    @property
    def starts_server(self) -> bool:
        """Whether the server was the suite's to start and to end."""
        return CAPABILITIES[self.stack].starts_server


def load_only_plan(
    name: str,
    url: str,
    workloads: Mapping[str, WorkloadSpec],
    phase: PhaseSpec,
    *,
    request_s: float,
    seed: int = 1,
    workers: int = 1,
    client: ClientKind = "openai",
) -> RunPlan:
    """The plan of load alone, for measurements of the load generator: no server under test, nothing to judge.

    `request_s`: the time limit of one request. `phase` is the largest that will be started.
    """
    none = Versions(kvchaos="", vllm="", torch="", python="", server_name="", model="", git="", host="")
    return RunPlan(
        run_id=name,
        seed=seed,
        stack="local",
        scenario=Scenario(
            name=name,
            summary="",
            server=ServerSettings(gpu_blocks=2),
            workloads=dict(workloads),
            phases=(phase,),
            limits=Limits(request_s=request_s),
        ),
        expectation=Expectation(releases=">=0"),
        workers=workers,
        client=client,
        base_url=url,
        command=(),
        environment={},
        versions=none,
        created="",
    )
