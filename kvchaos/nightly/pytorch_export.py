"""The last night as records of PyTorch's benchmark database, schema v3: one JSON object a line.

The schema is the table benchmark.oss_ci_benchmark_v3: pytorch/test-infra,
clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql. The uploader of pytorch/pytorch-integration-testing,
.github/scripts/upload_benchmark_results.py, reads these lines. It adds timestamp, schema_version, name, repo,
head_branch, head_sha, workflow_id, run_attempt and job_id where a record lacks them, and replaces runners.
"""

from __future__ import annotations

import math
from datetime import datetime

import msgspec

from kvchaos.nightly.night_records import Night, NightPoint, ServerBuild
from kvchaos.nightly.night_report import NightReport, SeriesReport

BENCHMARK = "kvchaos nightly"
REPOSITORIES = {"vllm": "vllm-project/vllm", "torch": "pytorch/pytorch"}
Texts = dict[str, str]
"""Map(String, String) in the schema: numbers are texts, too."""


class BenchmarkInfo(msgspec.Struct, frozen=True):
    """`benchmark` of the schema."""

    name: str  # required, by the wiki page "PyTorch OSS benchmark infra" of pytorch/pytorch
    mode: str  # training or inference
    dtype: str
    extra_info: Texts


class ModelInfo(msgspec.Struct, frozen=True):
    """`model` of the schema."""

    name: str  # required
    type: str  # free text
    backend: str  # free text
    origins: list[str]  # where the model comes from
    extra_info: Texts


class MetricInfo(msgspec.Struct, frozen=True):
    """`metric` of the schema."""

    name: str  # required
    benchmark_values: list[float]  # required; one for each repetition
    target_value: float
    extra_info: Texts


class RunnerInfo(msgspec.Struct, frozen=True):
    """One entry of `runners` of the schema; pytorch/test-infra fills it by gather_runners_info.py."""

    name: str  # cuda, rocm, or empty
    type: str  # name of the device
    cpu_info: str
    gpu_info: str
    gpu_count: int
    extra_info: Texts


class DependencyInfo(msgspec.Struct, frozen=True):
    """One value of `dependencies` of the schema, by the name of the dependency."""

    repo: str
    branch: str
    sha: str
    version: str
    extra_info: Texts


class PytorchRecord(msgspec.Struct, frozen=True):
    """One row of the table."""

    timestamp: int  # seconds, as gather_metadata.py in pytorch/test-infra writes it
    schema_version: str
    name: str  # of the benchmark's job
    repo: str
    head_sha: str
    benchmark: BenchmarkInfo
    model: ModelInfo
    metric: MetricInfo
    runners: list[RunnerInfo]
    dependencies: dict[str, DependencyInfo]


def pytorch_records(report: NightReport) -> bytes:
    """All series of the last night; none of a control night, which measured no candidate."""
    if report.night.kind == "control":
        return b""
    rows = (*report.watched, *report.context)
    return msgspec.json.Encoder().encode_lines([_record(report.night, row) for row in rows])


def _record(night: Night, row: SeriesReport) -> PytorchRecord:
    return PytorchRecord(
        timestamp=round(datetime.fromisoformat(night.night).timestamp()),
        schema_version="v3",
        name=BENCHMARK,
        repo=REPOSITORIES["vllm"],
        head_sha=night.candidate.commit or "",
        benchmark=BenchmarkInfo(BENCHMARK, "inference", "", _benchmark_extra(night, row)),
        model=ModelInfo(night.model, "", "vllm", [], {}),
        metric=_metric(row.point),
        runners=[_runner(night)],
        dependencies=_dependencies(night.candidate),
    )


def _benchmark_extra(night: Night, row: SeriesReport) -> Texts:
    return {
        "series": row.series,
        "scenario": row.scenario,
        "load": row.load,
        "role": row.point.role,
        "identity": row.point.identity,
        "night": night.night,
        "control": night.control.vllm,
        "kvchaos": night.kvchaos,
    }


def _metric(point: NightPoint) -> MetricInfo:
    """The figure of the candidate; the one of the control is the target."""
    extra = {"unit": point.unit, "pairs": str(len(point.screen) + len(point.confirm))}
    decision = point.decision
    if decision is not None:
        extra["result"] = decision.result
        slowdowns = {"slowdown": decision.slowdown, "visible_step": decision.visible_step}
        extra |= {key: f"{math.expm1(value):.6g}" for key, value in slowdowns.items() if value is not None}
    return MetricInfo(point.series.split("/")[2], [point.candidate], point.control, extra)


def _runner(night: Night) -> RunnerInfo:
    machine = night.machine
    device = machine.gpus[0] if machine.gpus else ""
    return RunnerInfo(
        name="cuda" if "NVIDIA" in device else "",
        type=device or machine.processor,
        cpu_info=machine.processor,
        gpu_info=device,
        gpu_count=len(machine.gpus),
        extra_info={"host": machine.host, "driver": machine.driver or ""},
    )


def _dependencies(candidate: ServerBuild) -> dict[str, DependencyInfo]:
    found = {"vllm": DependencyInfo(REPOSITORIES["vllm"], "", candidate.commit or "", candidate.vllm, {})}
    if candidate.torch is not None:
        found["torch"] = DependencyInfo(REPOSITORIES["torch"], "", "", candidate.torch, {})
    return found
