"""The command `kvchaos run`: scenarios against a server, a verdict for each; the server that options name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from packaging.version import InvalidVersion, Version
from rich.console import Console

from history.scaling import ScaleName
from history.scenario import ClientKind, Scenario, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.campaign.campaign import clean_orphans, run_all
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.calibrate_command import calibrated_tolerance
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.requested_server import DEFAULT_SEED, DEFAULT_SERVER, DEFAULT_STACK, server_for, sized
from kvchaos.doctor import gpu
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import exit_code
from kvchaos.paths import Workspace, cache_folder, runs_folder
from kvchaos.planning.master_address import MasterAddress, check_free, master_address
from kvchaos.planning.run_plan import RunRequest, replay_of
from kvchaos.planning.scenario_file import find_scenario, load_scenario, order_scenarios, scenario_files
from kvchaos.planning.scenario_priority import most_important_first
from kvchaos.prometheus.program import need_prometheus

MAX_SEED = 2**62
"""Leaves room for repeats below the 2**63 that a plan can hold."""
DEFAULT_CLIENT: ClientKind = "openai"


def run_command(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Names of scenarios, or paths of scenario files.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Server environment (kvchaos server list). Default: 0.32.0.")
    ] = None,
    stack: Annotated[
        StackName | None,
        typer.Option(help="Where the server runs. Default: local, as processes without Docker."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="With --stack attach: URL of the server, http://127.0.0.1:PORT.")
    ] = None,
    grafana: Annotated[
        bool,
        typer.Option(
            "--grafana", help="With a compose stack: start Grafana. It stays up until kvchaos clean."
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All scenarios of kvchaos for this stack.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Seed of all random choices. Default: 1; random with attach."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--for", help="Duration, such as 9m. The most important scenarios of --all come first."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each scenario, with consecutive seeds.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of load workers.")] = 1,
    listen: Annotated[
        str | None,
        typer.Option(help="HOST:PORT. Wait there for load workers (kvchaos worker), start none."),
    ] = None,
    client: Annotated[
        ClientKind | None,
        typer.Option(help="Client that sends the load. Default: openai. lean needs less processor time."),
    ] = None,
    on_gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Check first that there is a GPU and a server build for it."),
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Start a new server for each run. Default: reuse one that is proved clean."
        ),
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Port of the server on 127.0.0.1. Default: a free one.")
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Let Prometheus scrape the server too, as a second record.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option(help="Run directory. Repeat its scenario with exactly its injections.")
    ] = None,
    scale: Annotated[
        ScaleName | None, typer.Option(help="Size of the scenarios. Default: by the GPU; tiny without one.")
    ] = None,
    logprob_tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Allowed difference of equal answers in a logprob. Default: that of the release."
        ),
    ] = None,
    as_release: Annotated[
        str | None,
        typer.Option(
            help="Expect the known bugs of this release, such as 0.28.0. Default: the version of vLLM."
        ),
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for run directories. Default: ./runs.")] = None,
) -> int:
    """Run scenarios and judge them.

    Exit code: 0 as expected, 1 not as expected, 2 unknown, 3 bad input.
    """
    if [bool(scenarios), every, replay is not None].count(True) != 1:
        raise UsageError("name the scenarios to run, or give --all, or --replay RUN_DIR (one of the three)")
    time_left = None if budget is None else RunBudget(parse_duration(budget))
    if replay is not None:
        old = replay_of(replay)
        loaded, seed, stack = [old.scenario], old.seed, stack or old.stack
        client = client or old.client
        if scale is not None:
            raise UsageError("--scale does not go with --replay, which repeats the sizes of the run")
        if CAPABILITIES[stack].starts_server:
            server = server or old.server
    else:
        stack = stack or DEFAULT_STACK
        loaded = _loaded(scenarios or (), stack, every=every, short_of_time=time_left is not None)
    cache, can = cache_folder(), CAPABILITIES[stack]
    if on_gpu or can.containers == "cuda":
        require_gpu(stack, server or DEFAULT_SERVER, cache, port)
    if grafana and can.containers is None:
        with_containers = (name for name, each in CAPABILITIES.items() if each.containers)
        raise UsageError(f"--grafana needs --stack {' or '.join(with_containers)}")
    if prometheus and can.containers is None:
        need_prometheus(os.environ)
    workspace = Workspace(cache=cache, runs=runs.absolute() if runs else runs_folder(), port=port)
    if seed is None:
        # A server that is there may remember the prompts of an earlier seed.
        seed = DEFAULT_SEED if can.starts_server else secrets.randbelow(MAX_SEED)
    master = None if listen is None else _master(listen)
    release = None if as_release is None else _release(as_release)
    environment = server_for(stack, url, server, workspace.cache, grafana=grafana)
    chosen = (
        [(old.scenario, old.scaling)]
        if replay is not None
        else sized(loaded, scale, environment, every=every)
    )
    console = Console()
    clean_orphans(workspace, console)
    if logprob_tolerance is None:
        logprob_tolerance = calibrated_tolerance(environment, stack, scale, workspace, console)
    requests = [
        RunRequest(
            scenario=scenario,
            scaling=scaling,
            server=environment,
            seed=seed + again,
            workers=workers,
            listen=master,
            stack=stack,
            grafana=grafana,
            logprob_tolerance=logprob_tolerance,
            prometheus=prometheus,
            client=client or DEFAULT_CLIENT,
            as_release=release,
        )
        for scenario, scaling in chosen
        for again in range(repeat)
    ]
    rows = run_all(requests, workspace, console, reuse=not fresh, budget=time_left)
    return exit_code(row.verdict.outcome for row in rows)


def _loaded(names: Sequence[str], stack: StackName, *, every: bool, short_of_time: bool) -> list[Scenario]:
    """The named scenarios in their order, or all of the stack. Raises UsageError."""
    if not every:
        return [load_scenario(find_scenario(name)) for name in names]
    loaded = [load_scenario(path) for path in scenario_files()]
    ordered = order_scenarios([each for each in loaded if stack in each.stacks], known_bugs())
    return most_important_first(ordered) if short_of_time else ordered


def require_gpu(stack: StackName, server: str, cache: Path, port: int | None) -> None:
    """Raises UsageError with a line for each thing that a run on a GPU misses."""
    can = CAPABILITIES[stack]
    if can.containers == "cuda":
        gpu.require(gpu.examine(port))
    elif can.starts_processes:
        gpu.require(gpu.examine_local(server, cache, port))
    else:
        raise UsageError(f"--gpu needs --stack local or compose-gpu, not with {stack}")


def _release(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise UsageError(f"--as-release {text}: is no version; give one such as 0.28.0") from error


def _master(listen: str) -> MasterAddress:
    address = master_address(listen)
    check_free(address)
    if address.open_to_others:
        typer.echo(
            f"kvchaos: the master of the load and the server listen at {address.host} without "
            "authentication: use this only in a network that you trust",
            err=True,
        )
    return address
