"""The command `kvchaos bench`: sweeps over rates, the highest rate for an SLO, comparisons."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from history.scaling import ScaleName
from history.scenario import ClientKind, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.bench.bench_file import Slo, read_bench, write_bench
from kvchaos.bench.bench_runner import BenchTarget, LoadOptions, bench_of, remeasure, slice_pairs
from kvchaos.bench.bench_scenarios import (
    CLIENT_MS,
    IN_FLIGHT,
    Side,
    side_of,
    with_settings,
)
from kvchaos.bench.bench_tables import ratio_tables
from kvchaos.bench.procedures import RateProfile, compare, search, sources, sweep
from kvchaos.bench.prompt_sources import sources_scenario
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.bench_session import conduct, print_sheets, show
from kvchaos.cli.chosen_scenario import ChosenScenario
from kvchaos.cli.durations import parse_duration
from kvchaos.cli.requested_server import DEFAULT_SEED, DEFAULT_STACK, server_for
from kvchaos.cli.run_command import DEFAULT_CLIENT, MAX_SEED
from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.nvml import bus_gb_per_s

app = typer.Typer(no_args_is_help=True, help="Measure speed by many runs: sweep, slo, compare.")

ScenarioArgument = Annotated[str, typer.Argument(help="Name of a scenario, or path of a scenario file.")]
ServerOption = Annotated[
    str | None, typer.Option(help="Server environment (kvchaos server list). Default: 0.32.0.")
]
StackOption = Annotated[StackName, typer.Option(help="Where the server runs.")]
UrlOption = Annotated[
    str | None, typer.Option(help="With --stack attach: URL of the server, http://127.0.0.1:PORT.")
]
PhaseOption = Annotated[str | None, typer.Option(help="Phase to measure. Default: the last with role load.")]
ScaleOption = Annotated[
    ScaleName | None, typer.Option(help="Size of the scenario. Default: by the GPU; tiny without one.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_SEED,
        help="Seed of the first run; it increases by 1 for each further run. Default: 1; random with attach.",
    ),
]
SecondsOption = Annotated[
    float, typer.Option(min=1, max=3600, help="Duration of the arrivals at each rate, seconds.")
]
MaxConcurrencyOption = Annotated[
    int, typer.Option(min=1, max=10_000, help="Maximum of requests in flight at a rate.")
]
MaxClientLagOption = Annotated[
    float, typer.Option(min=0.1, help="Maximum lag of the client itself, ms, if the scenario has no bound.")
]
SendingOption = Annotated[ClientKind, typer.Option(help="Client that sends the load.")]
WorkersOption = Annotated[int, typer.Option(min=1, max=64, help="Number of load workers.")]
RunsOption = Annotated[Path | None, typer.Option(help="Folder for measurements. Default: ./runs.")]
TtftOption = Annotated[float | None, typer.Option(min=0.001, help="Maximum TTFT of a good request, ms.")]
TpotOption = Annotated[float | None, typer.Option(min=0.001, help="Maximum TPOT of a good request, ms.")]
E2elOption = Annotated[float | None, typer.Option(min=0.001, help="Maximum E2EL of a good request, ms.")]


@app.command("sweep")
def sweep_command(
    scenario: ScenarioArgument,
    server: ServerOption = None,
    stack: StackOption = DEFAULT_STACK,
    url: UrlOption = None,
    phase: PhaseOption = None,
    scale: ScaleOption = None,
    rates: Annotated[
        str | None,
        typer.Option(
            help="Arrivals per second, such as 1,2,4. Default: six around the rate of a closed loop."
        ),
    ] = None,
    seconds: SecondsOption = 20.0,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Number of runs, each with all rates.")] = 3,
    max_concurrency: MaxConcurrencyOption = IN_FLIGHT,
    ttft_ms: TtftOption = None,
    tpot_ms: TpotOption = None,
    e2el_ms: E2elOption = None,
    seed: SeedOption = None,
    max_client_lag_ms: MaxClientLagOption = CLIENT_MS,
    workers: WorkersOption = 1,
    client: SendingOption = DEFAULT_CLIENT,
    runs: RunsOption = None,
) -> int:
    """Measure throughput and latency over rates, and find the knee."""
    chosen = ChosenScenario.named(scenario, phase, max_client_lag_ms, scale)
    target = chosen.on(server_for(stack, url, server, cache_folder()), stack, runs)
    slo = Slo(ttft_ms=ttft_ms, tpot_ms=tpot_ms, e2el_ms=e2el_ms)
    wanted, load = _rates(rates), RateProfile(seconds, max_concurrency)
    if wanted:
        load.at(target, wanted)  # What is wrong with them is told before anything starts.
    seeds = _seeds(seed, repeats, [target])
    bench = bench_of("sweep", target.base, [target], slo if slo.bounds else None, seeds)
    sender = LoadOptions(workers, client)
    return conduct(bench, runs, sender, lambda bencher: sweep(bencher, target, seeds, wanted, load))


@app.command("slo")
def slo_command(
    scenario: ScenarioArgument,
    server: ServerOption = None,
    stack: StackOption = DEFAULT_STACK,
    url: UrlOption = None,
    phase: PhaseOption = None,
    scale: ScaleOption = None,
    ttft_ms: TtftOption = None,
    tpot_ms: TpotOption = None,
    e2el_ms: E2elOption = None,
    slo_fraction: Annotated[
        float, typer.Option(min=0.01, max=1, help="Fraction of all requests that must be good.")
    ] = 0.99,
    low: Annotated[
        float, typer.Option(min=0, help="Rate that is assumed to meet the bounds, arrivals per second.")
    ] = 0.0,
    high: Annotated[
        float | None,
        typer.Option(min=0.001, help="First rate of the search. Default: above the rate of a closed loop."),
    ] = None,
    precision: Annotated[
        float,
        typer.Option(min=0.01, max=0.5, help="Relative precision of the rate at which the search stops."),
    ] = 0.1,
    seconds: SecondsOption = 20.0,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of searches, each with its own seed.")
    ] = 3,
    max_concurrency: MaxConcurrencyOption = IN_FLIGHT,
    seed: SeedOption = None,
    max_client_lag_ms: MaxClientLagOption = CLIENT_MS,
    workers: WorkersOption = 1,
    client: SendingOption = DEFAULT_CLIENT,
    runs: RunsOption = None,
) -> int:
    """Search the highest rate at which enough requests meet the bounds."""
    slo = Slo(ttft_ms=ttft_ms, tpot_ms=tpot_ms, e2el_ms=e2el_ms, share=slo_fraction)
    if not slo.bounds:
        raise UsageError("give at least one bound: --ttft-ms, --tpot-ms or --e2el-ms")
    if high is not None and low >= high:
        raise UsageError(f"--low {low:g} is not below --high {high:g}; give a lower --low or a higher --high")
    chosen = ChosenScenario.named(scenario, phase, max_client_lag_ms, scale)
    target = chosen.on(server_for(stack, url, server, cache_folder()), stack, runs)
    load = RateProfile(seconds, max_concurrency)
    seeds = _seeds(seed, repeats, [target])
    return conduct(
        bench_of("slo", target.base, [target], slo, seeds),
        runs,
        LoadOptions(workers, client),
        lambda bencher: search(bencher, target, seeds, (low, high), precision, load),
    )


@app.command("compare")
def compare_command(
    scenario: ScenarioArgument,
    a: Annotated[
        list[str] | None, typer.Option(help="The first side: server=NAME, url=URL, or a setting NAME=VALUE.")
    ] = None,
    b: Annotated[list[str] | None, typer.Option(help="The second side, in the same form.")] = None,
    server: ServerOption = None,
    stack: StackOption = DEFAULT_STACK,
    phase: PhaseOption = None,
    scale: ScaleOption = None,
    rates: Annotated[
        str | None, typer.Option(help="Arrivals per second, such as 1,2,4. Default: those of the phase.")
    ] = None,
    seconds: SecondsOption = 20.0,
    pairs: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of runs of each side; the sides alternate.")
    ] = 6,
    max_concurrency: MaxConcurrencyOption = IN_FLIGHT,
    ttft_ms: TtftOption = None,
    tpot_ms: TpotOption = None,
    e2el_ms: E2elOption = None,
    seed: SeedOption = None,
    max_client_lag_ms: MaxClientLagOption = CLIENT_MS,
    workers: WorkersOption = 1,
    client: SendingOption = DEFAULT_CLIENT,
    runs: RunsOption = None,
) -> int:
    """Compare two servers, or two settings of one: the ratio of each value with its interval."""
    if not a or not b:
        raise UsageError("give the two sides, such as --a offload=off --b offload=on")
    sides = [side_of(side_text) for side_text in (a, b)]
    chosen = ChosenScenario.named(
        scenario, phase, max_client_lag_ms, scale, with_faults=any(side.faults for side in sides)
    )
    wanted, load = _rates(rates), RateProfile(seconds, max_concurrency)
    first, second = (_of_side(side, chosen, stack, server, runs) for side in sides)
    if first.side == second.side:
        raise UsageError(f"--a and --b: both sides are {first.side}; give two that differ")
    targets = (load.at(first, wanted), load.at(second, wanted)) if wanted else (first, second)
    slo = Slo(ttft_ms=ttft_ms, tpot_ms=tpot_ms, e2el_ms=e2el_ms)
    seeds = _seeds(seed, pairs, targets)
    return conduct(
        bench_of("compare", first.base, targets, slo if slo.bounds else None, seeds),
        runs,
        LoadOptions(workers, client),
        lambda bencher: compare(bencher, targets, seeds, max(len(wanted), 1)),
    )


@app.command("sources")
def sources_command(
    server: ServerOption = None,
    stack: StackOption = DEFAULT_STACK,
    url: UrlOption = None,
    scale: ScaleOption = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Number of runs.")] = 6,
    budget: Annotated[
        str | None, typer.Option("--for", help="Duration, such as 9m, in which no run starts too late.")
    ] = None,
    seed: SeedOption = None,
    max_client_lag_ms: MaxClientLagOption = CLIENT_MS,
    client: SendingOption = DEFAULT_CLIENT,
    runs: RunsOption = None,
) -> int:
    """Measure the TTFT of a returning prompt from the device, from the CPU tier, and computed."""
    chosen = ChosenScenario.named(str(sources_scenario()), None, max_client_lag_ms, scale)
    target = chosen.on(server_for(stack, url, server, cache_folder()), stack, runs)
    seeds = _seeds(seed, repeats, [target])
    bench = bench_of("sources", target.base, [target], None, seeds)
    if isinstance(target.server, ServerEnv) and target.server.platform == "cuda":
        bench = msgspec.structs.replace(bench, bus_gb_per_s=bus_gb_per_s())
    time_left = RunBudget(math.inf if budget is None else parse_duration(budget))
    sender = LoadOptions(1, client)
    return conduct(bench, runs, sender, lambda bencher: sources(bencher, target, seeds, time_left))


@app.command("runs")
def runs_command(
    first: Annotated[Path, typer.Argument(help="Run directory.")],
    second: Annotated[Path, typer.Argument(help="Another run directory with the same load and seed.")],
) -> int:
    """Compare two stored runs: ratios by phase, from slices of the phases. Needs no server."""
    print_sheets(ratio_tables(slice_pairs(first, second)))
    typer.echo("\nthe intervals come from slices of these two runs, without the variation between runs")
    return 0


@app.command("show")
def show_command(folder: Annotated[Path, typer.Argument(help="Folder of a measurement.")]) -> int:
    """Judge the runs of a measurement again, and recompute all figures. Needs no server."""
    bench = remeasure(read_bench(folder), folder)
    write_bench(bench, folder)
    return show(bench, folder)


def _of_side(
    side: Side, chosen: ChosenScenario, stack: StackName, server: str | None, runs: Path | None
) -> BenchTarget:
    if side.url is not None:
        stack, server, url = "attach", None, side.url
    else:
        server, url = side.server or server, None
    target = chosen.on(server_for(stack, url, server, cache_folder()), stack, runs)
    return replace(target, side=side.label, base=with_settings(target.base, side))


def _seeds(seed: int | None, count: int, targets: Sequence[BenchTarget]) -> range:
    """A server that is there may remember the prompts of an earlier seed."""
    if seed is None:
        there = any(not CAPABILITIES[target.stack].starts_server for target in targets)
        seed = secrets.randbelow(MAX_SEED) if there else DEFAULT_SEED
    return range(seed, seed + count)


def _rates(text: str | None) -> list[float]:
    """The rates in a text such as `1,2,4`; none for None. Raises UsageError."""
    if text is None:
        return []
    try:
        rates = [float(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--rates {text}: write numbers with commas between, such as 1,2,4") from None
    if not all(0 < rate <= 1_000_000 for rate in rates) or sorted(set(rates)) != rates:
        raise UsageError(f"--rates {text}: give ascending rates above 0")
    return rates
