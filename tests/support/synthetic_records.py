"""Synthetic parts of a history: names of metrics, records, plans."""

from __future__ import annotations

import msgspec

from history.expected_findings import Expectation
from history.phase_spec import PhaseSpec, Role
from history.plan import RunPlan, Versions
from history.records import (
    ClientRecord,
    GpuRecord,
    RequestError,
    RequestRecord,
    ResourceRecord,
    Usage,
)
from history.scenario import ClientBounds, FaultSpec, Limits, Scenario, ServerSettings, Trigger, WorkloadSpec

START_NS = 1_800_000_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000
PROMPT_TOKENS = 64
ANSWER_TOKENS = 4
EXTERNAL_TOKENS = 32
LOCAL_TOKENS = 16
KV_TOKEN_BYTES = 1024
PROMPTS = 4
"""Requests in a phase, each with a prompt of its own; every phase asks the same ones unless unique."""

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
USAGE = "vllm:kv_cache_usage_perc"
PROMPT = "vllm:prompt_tokens_total"
GENERATED = "vllm:generation_tokens_total"
CACHED = "vllm:prompt_tokens_cached_total"
RECOMPUTED = "vllm:prompt_tokens_recomputed_total"
PREEMPTIONS = "vllm:num_preemptions_total"
COMPUTED_SOURCE = 'vllm:prompt_tokens_by_source_total{source="local_compute"}'
LOCAL_SOURCE = 'vllm:prompt_tokens_by_source_total{source="local_cache_hit"}'
EXTERNAL_SOURCE = 'vllm:prompt_tokens_by_source_total{source="external_kv_transfer"}'
DEVICE_TIER = 'vllm:prompt_tokens_cached_by_source_total{source="device"}'
HOST_TIER = 'vllm:prompt_tokens_cached_by_source_total{source="host"}'
LENGTH = 'vllm:request_success_total{finished_reason="length"}'
LOCAL_HITS = "vllm:prefix_cache_hits_total"
LOCAL_QUERIES = "vllm:prefix_cache_queries_total"
EXTERNAL_HITS = "vllm:external_prefix_cache_hits_total"
EXTERNAL_QUERIES = "vllm:external_prefix_cache_queries_total"
TTFT_SMALL = 'vllm:time_to_first_token_seconds_bucket{le="0.1"}'
TTFT_ALL = 'vllm:time_to_first_token_seconds_bucket{le="+Inf"}'
TTFT_COUNT = "vllm:time_to_first_token_seconds_count"
TTFT_SUM = "vllm:time_to_first_token_seconds_sum"
LOAD_BYTES = "vllm:kv_offload_load_bytes_total"
LOAD_TIME = "vllm:kv_offload_load_time_total"
STORE_TIME = "vllm:kv_offload_store_time_total"
ALLOCATION_FAILURES = "vllm:kv_offload_allocation_failure_total"
OLD_LOAD_BYTES = 'vllm:kv_offload_total_bytes_total{transfer_type="CPU_to_GPU"}'
OLD_LOAD_TIME = 'vllm:kv_offload_total_time_total{transfer_type="CPU_to_GPU"}'

ALWAYS = (
    *(RUNNING, WAITING, USAGE, PROMPT, GENERATED, CACHED, PREEMPTIONS),
    *(COMPUTED_SOURCE, LOCAL_SOURCE, EXTERNAL_SOURCE, LENGTH),
    *(DEVICE_TIER, HOST_TIER),
    *(LOCAL_HITS, LOCAL_QUERIES, EXTERNAL_HITS, EXTERNAL_QUERIES),
    *(TTFT_SMALL, TTFT_ALL, TTFT_COUNT, TTFT_SUM),
)
NEW_OFFLOAD = (LOAD_BYTES, LOAD_TIME, STORE_TIME, ALLOCATION_FAILURES)
OLD_OFFLOAD = (OLD_LOAD_BYTES, OLD_LOAD_TIME)


def good_request(request_id: str, prompt_id: str, phase: str, start_ns: int) -> RequestRecord:
    """The record of a request with a complete answer."""
    return RequestRecord(
        id=request_id,
        prompt_id=prompt_id,
        phase=phase,
        worker=0,
        prompt_tokens=PROMPT_TOKENS,
        max_tokens=ANSWER_TOKENS,
        scheduled_ns=start_ns,
        start_ns=start_ns,
        start_mono_ns=start_ns,
        end_us=100_000,
        first_us=20_000,
        chunk_us=[20_000, 40_000, 60_000],
        chunk_tokens=[1, 2, 1],
        token_ids=[11, 12, 13, 14],
        logprobs=[-0.5, -0.25, -1.75, -0.125],
        usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=ANSWER_TOKENS),
        finish_reason="length",
        status=200,
        outcome="ok",
        error=None,
        first_block=f"block-of-{prompt_id}",
    )


def healthy(phase: str, now_ns: int) -> ClientRecord:
    """A load process with nothing to complain of."""
    return ClientRecord(
        t_ns=now_ns,
        mono_ns=now_ns,
        worker=0,
        phase=phase,
        wall_us=5_000_000,
        cpu_us=500_000,
        event_loop_lag_us=[100] * 200,
        gc_pause_us=[2_000],
        connections=4,
    )


def resource_record(now_ns: int, **changes: int) -> ResourceRecord:
    """What the pretended server's processes hold, with some of it changed."""
    usual = ResourceRecord(
        t_ns=now_ns,
        mono_ns=now_ns,
        leader=99,
        started=4_000,
        processes=3,
        threads=60,
        files=120,
        sockets=30,
        resident_bytes=2_000 << 20,
        anonymous_bytes=1_500 << 20,
        shm_bytes=100 << 10,
        zombies=0,
    )
    return msgspec.structs.replace(usual, **changes)


GPU_BYTES = 80 << 30


def gpu_sample(now_ns: int = START_NS, index: int = 0, **changes: object) -> GpuRecord:
    """A sample of a healthy card that reports every figure, half of whose memory is in use."""
    sample = GpuRecord(
        t_ns=now_ns,
        mono_ns=now_ns,
        index=index,
        name="NVIDIA H100",
        driver="580",
        used_bytes=GPU_BYTES // 2,
        total_bytes=GPU_BYTES,
        busy_percent=85,
        bus_sent_bytes_per_s=1000,
        bus_received_bytes_per_s=2000,
        power_mw=350_000,
        celsius=61,
        clock_mhz=1500,
        max_clock_mhz=1980,
        slowdowns=("power-cap",),
        uncorrected_errors=0,
        host_pinned_bytes=32 << 30,
    )
    return msgspec.structs.replace(sample, **changes)


def failure(kind: str, message: str, status: int | None = 500) -> dict[str, object]:
    """Changes that turn a good request into a failed one without any token."""
    return {
        "outcome": "error",
        "status": status,
        "error": RequestError(kind=kind, status=status, message=message),
        "usage": None,
        "finish_reason": None,
        "first_us": None,
        "chunk_us": [],
        "chunk_tokens": [],
        "token_ids": [],
        "logprobs": [],
    }


def fault(kind: str, *, limit: int | None = None) -> FaultSpec:
    """The specification of a fault f1 that strikes at every invocation."""
    return FaultSpec(id="f1", kind=kind, trigger=Trigger(every=1, limit=limit))


def make_plan(
    *,
    roles: tuple[Role, ...] = ("golden", "chaos", "healed"),
    faults: tuple[FaultSpec, ...] = (),
    vllm: str = "0.32.0",
    server: ServerSettings | None = None,
    workload: str = "shared-prefix",
    expectation: Expectation | None = None,
) -> RunPlan:
    """A plan with one phase a role, named after it."""
    phases = tuple(
        PhaseSpec(name=role, role=role, workload="main", requests=PROMPTS, concurrency=1) for role in roles
    )
    return RunPlan(
        run_id="synthetic-1",
        seed=7,
        stack="local",
        scenario=Scenario(
            name="synthetic",
            summary="A pretended run.",
            server=server or ServerSettings(gpu_blocks=40),
            workloads={"main": WorkloadSpec(kind=workload)},
            phases=phases,
            faults=faults,
            limits=Limits(stall_s=5.0),
        ),
        expectation=expectation or Expectation(releases=">=0.16"),
        base_url="http://127.0.0.1:8123",
        command=("python", "-m", "vllm.entrypoints.openai.api_server"),
        environment={},
        versions=Versions(
            kvchaos="0.1.0",
            vllm=vllm,
            torch="2.13.0",
            python="3.11.7",
            server_name="cpu-0.32.0",
            model="0123456789abcdef",
            git="unknown",
            host="Linux x86_64, 2 processors",
        ),
        kv_token_bytes=KV_TOKEN_BYTES,
        created="2026-11-24T08:00:00Z",
    )


def latency_plan() -> RunPlan:
    """A plan that says how slow its client may be."""
    plan = make_plan()
    bounds = ClientBounds(event_loop_lag_ms=1000.0, schedule_lag_median_ms=250.0, schedule_lag_ms=1000.0)
    limits = plan.scenario.limits.model_copy(update={"client": bounds})
    return plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"limits": limits})})
