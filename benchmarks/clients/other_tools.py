"""The load generators of others: releases, how they are installed, how they are called, what they write.

Each runs as its own documentation shows it, with streaming, answers of full length, prompts from a file and a
local tokenizer. No other service is used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from benchmarks.clients.client_load import TOKENS, ClientLoad, ClientObservation, write_prompts
from kvchaos.servers.install_server import overrides
from kvchaos.servers.installation import InstallProgress, Runner
from kvchaos.servers.interpreters import configured_find_links
from kvchaos.servers.releases import PACKAGE, find_release

NS_PER_S, NS_PER_MS, MS_PER_S = 1e9, 1e6, 1e3
MODEL = "mock"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
RESULT = "result.json"
DONE = "installed"
"""Written last: without it the installation is repeated."""
VLLM = "0.32.0"
GRACE_S = 5
"""Seconds for answers that are under way when the time has elapsed."""
VLLM_BENCH = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "parser = argparse.ArgumentParser(); add_cli_args(parser); main(parser.parse_args())"
)
"""`vllm bench serve`; the command itself does not start where the distribution has another name than vllm."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The arguments of one call of a tool."""

    load: ClientLoad
    url: str
    python: Path
    """Interpreter of its environment; its commands are in the same folder."""
    tokenizer: Path
    folder: Path
    """Its own, for what it writes."""


@dataclass(frozen=True, slots=True)
class LoadTool:
    """A load generator of others: its release, its packages, and how it is called and read."""

    name: str
    version: str
    packages: tuple[str, ...]
    overrides: tuple[str, ...]
    """Requirements that override those of the packages."""
    command: Callable[[ToolCall], Sequence[str | Path]]
    read: Callable[[Path], Iterable[ClientObservation]]
    """What it wrote into its folder."""
    environment: dict[str, str] = field(default_factory=dict)


def _guidellm(call: ToolCall) -> Sequence[str | Path]:
    load = call.load
    prompts = write_prompts(call.folder / "prompts.jsonl", "prompt", "output_tokens_count")
    backend = f"kind=openai_http,target={call.url},model={MODEL},request_format=/v1/completions"
    profile = f"kind=concurrent,streams={load.at_once}"
    if load.rate is not None:
        profile = f"kind=poisson,rate={load.rate:g},max_concurrency={load.at_once}"
    return [
        *(call.python.with_name("guidellm"), "run", "--backend", backend, "--profile", profile),
        *("--constraint", f"kind=max_duration,seconds={load.seconds:g}"),
        *("--data", f"kind=json_file,path={prompts}"),
        *("--tokenizer", f"kind=huggingface_auto,model={call.tokenizer}"),
        *("--output", f"kind=json,path={call.folder / RESULT}", "--disable-console"),
    ]


def _read_guidellm(folder: Path) -> Iterable[ClientObservation]:
    offset_s = time.time() - time.monotonic()
    (benchmark,) = _json(folder / RESULT)["benchmarks"]
    for request in benchmark["requests"]["successful"]:
        times = request["info"]["timings"]
        first, last = times["first_token_iteration"], times["last_token_iteration"]
        yield ClientObservation(
            # The server's own id comes back with its answer.
            id=request["response_id"].removeprefix("cmpl-"),
            first_ns=(first - offset_s) * NS_PER_S,
            mean_gap_ms=(last - first) * MS_PER_S / (times["token_iterations"] - 1),
        )


def _aiperf(call: ToolCall) -> Sequence[str | Path]:
    load = call.load
    prompts = write_prompts(call.folder / "prompts.jsonl", "text", "output_length")
    pace = ["--concurrency", str(load.at_once)]
    if load.rate is not None:
        pace += ["--request-rate", f"{load.rate:g}", "--arrival-pattern", "poisson"]
    return [
        *(call.python.with_name("aiperf"), "profile", "--model", MODEL, "--url", call.url),
        *("--endpoint-type", "completions", "--streaming", "--use-server-token-count", *pace),
        *("--benchmark-duration", f"{load.seconds:g}", "--benchmark-grace-period", str(GRACE_S)),
        *("--input-file", prompts, "--custom-dataset-type", "single_turn", "--tokenizer", call.tokenizer),
        *("--extra-inputs", "ignore_eos:true", "--extra-inputs", f"max_tokens:{TOKENS}"),
        *("--artifact-dir", call.folder, "--ui", "none", "--no-server-metrics", "--no-gpu-telemetry"),
    ]


def _read_aiperf(folder: Path) -> Iterable[ClientObservation]:
    offset_ns = time.time_ns() - time.monotonic_ns()
    for line in (folder / "profile_export.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        about, metrics = record["metadata"], record["metrics"]
        if record.get("error") or about["was_cancelled"]:
            continue
        yield ClientObservation(
            id=about["x_request_id"],
            first_ns=about["request_start_ns"]
            - offset_ns
            + metrics["time_to_first_token"]["value"] * NS_PER_MS,
            gaps_ms=tuple(metrics["inter_chunk_latency"]["value"][: TOKENS - 1]),
        )


def _vllm(call: ToolCall) -> Sequence[str | Path]:
    load = call.load
    prompts = write_prompts(call.folder / "prompts.jsonl", "prompt", "output_tokens")
    pace = [] if load.rate is None else ["--request-rate", f"{load.rate:g}"]
    return [
        *(call.python, "-c", VLLM_BENCH, "--backend", "openai", "--base-url", call.url, "--model", MODEL),
        *("--tokenizer", call.tokenizer, "--dataset-name", "custom", "--dataset-path", prompts),
        *("--custom-output-len", "-1", "--skip-chat-template", "--disable-shuffle", "--ignore-eos"),
        *("--num-prompts", str(load.requests), "--max-concurrency", str(load.at_once), *pace),
        *("--request-id-prefix", "bench-", "--save-result", "--save-detailed"),
        *("--result-dir", call.folder, "--result-filename", RESULT),
    ]


def _read_vllm(folder: Path) -> Iterable[ClientObservation]:
    result = _json(folder / RESULT)
    rows = zip(result["start_times"], result["ttfts"], result["itls"], result["errors"], strict=True)
    for number, (start, ttft, gaps, error) in enumerate(rows):
        if not error:
            yield ClientObservation(
                id=f"bench-{number}",
                first_ns=(start + ttft) * NS_PER_S,
                gaps_ms=tuple(gap * MS_PER_S for gap in gaps[: TOKENS - 1]),
            )


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


TOOLS = (
    LoadTool("guidellm", "0.8.1", ("guidellm==0.8.1",), (), _guidellm, _read_guidellm, OFFLINE),
    # In offline mode it does not take a tokenizer from a folder.
    LoadTool("aiperf", "0.13.0", ("aiperf==0.13.0",), (), _aiperf, _read_aiperf),
    LoadTool(
        "vllm bench serve",
        VLLM,
        (f"{PACKAGE}=={VLLM}", "pandas", "datasets"),
        tuple(overrides(find_release(VLLM)).splitlines()),
        _vllm,
        _read_vllm,
        OFFLINE,
    ),
)


def ensure_environment(tool: LoadTool, folder: Path, progress: InstallProgress) -> Path:
    """The interpreter of the tool's environment in the cache folder, which is installed once.

    Raises CommandFailed, OSError.
    """
    environment_folder = folder / f"{tool.name.split()[0]}-{tool.version}"
    python = environment_folder / "env" / "bin" / "python"
    if (environment_folder / DONE).is_file() and python.exists():
        return python
    shutil.rmtree(environment_folder, ignore_errors=True)
    environment_folder.mkdir(parents=True)
    progress.step(f"installing {tool.name} {tool.version} into {environment_folder}")
    uv, runner = find_uv_bin(), Runner(progress, environment_folder, environment_folder / "install.log")
    runner.run(
        [uv, "venv", "--no-project", "--python", sys.executable, environment_folder / "env"], os.environ
    )
    overriding = environment_folder / "overrides.txt"
    overriding.write_text("\n".join(tool.overrides) + "\n")
    locations = configured_find_links(Path(sys.executable))
    links = [argument for location in locations for argument in ("--find-links", location)]
    runner.run(
        [uv, "pip", "install", "--python", python, "--override", overriding, *links, *tool.packages],
        {"UV_SYSTEM_CERTS": "1", **os.environ},
    )
    (environment_folder / DONE).touch()
    return python
