"""The command `kvchaos client-bench`: what this machine's load client can take at most."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from history.latency import Quantiles
from history.scenario import ClientKind
from kvchaos import __version__
from kvchaos.clientbench.client_bench_file import (
    ClientBench,
    ClientBenchFailed,
    StepFigures,
    latest_bench,
    store_bench,
    summarize,
)
from kvchaos.clientbench.measure import MeasureOptions, measure
from kvchaos.errors import UsageError
from kvchaos.paths import LogFolder, cache_folder, client_bench_folder, logs_folder
from kvchaos.planning.open_file_limits import needs_of_client_bench, raise_limit
from kvchaos.planning.run_plan import git_state, host
from kvchaos.report.text_tables import plain_table, print_table
from loadtests.mock.mock_process import MockFailed

CONCURRENCY = (1, 8, 32, 128, 512)
ROOT = Path(__file__).parents[2]


def client_bench_command(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of load workers.")] = 1,
    client: Annotated[ClientKind, typer.Option(help="Client to measure.")] = "openai",
    seconds: Annotated[float, typer.Option(min=3, max=60, help="Duration of each step, seconds.")] = 5.0,
    concurrency: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=10_000, help="Requests in flight; may be repeated. Default: 1, 8, 32, 128, 512."
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Show the last measurement; measure nothing.")] = False,
) -> int:
    """Measure the load client against a mock server, and store the results in the cache folder."""
    folder = client_bench_folder(cache_folder())
    if last:
        bench = latest_bench(folder)
        if bench is None:
            raise UsageError("there is no measurement yet; make one with: kvchaos client-bench")
        _show(bench)
        return 0
    options = MeasureOptions(workers, seconds, tuple(sorted(set(concurrency or CONCURRENCY))), client)
    bench = _measured(options)
    path = store_bench(bench, folder)
    _show(bench)
    typer.echo(f"kept in {path}")
    return 0


def _measured(options: MeasureOptions) -> ClientBench:
    busy = os.getloadavg()[0]
    console = Console(stderr=True)
    raise_limit(needs_of_client_bench(max(options.concurrency), options.workers))
    logs = LogFolder(logs_folder(cache_folder()) / "client-bench")
    try:
        logs.empty()
        with logs.scratch("steps") as folder:
            steps = measure(options, folder, lambda line: console.print(line, highlight=False))
    except (ClientBenchFailed, MockFailed, OSError) as error:
        raise UsageError(f"the client was not measured: {error}; logs: {logs.path}") from error
    return ClientBench(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        host=host(),
        kvchaos=__version__,
        git=git_state(ROOT),
        python=platform.python_version(),
        openai=version("openai"),
        workers=options.workers,
        client=options.client,
        load_average=round(busy, 2),
        steps=steps,
    )


def _show(bench: ClientBench) -> None:
    typer.echo(
        f"{bench.created}, kvchaos {bench.kvchaos}, openai {bench.openai}, Python {bench.python}; "
        f"{bench.host}; {bench.workers} load workers, {bench.client} client; "
        f"load average before {bench.load_average}"
    )
    table = plain_table(
        *("step", "at once", "requests/s", "events/s", "CPU µs/event", "client CPU", "mock CPU"),
        *("loop lag ms", "late ms", "TTFT error ms", "ITL error ms", "mock late ms"),
    )
    for step in bench.steps:
        table.add_row(*_cells(step))
    print_table(table)
    typer.echo("spreads are median / 99th percentile")
    for line in summarize(bench.steps):
        typer.echo(line)


def _cells(step: StepFigures) -> list[str]:
    spreads = (step.lag_ms, step.late_ms, step.ttft_error_ms, step.itl_error_ms, step.server_late_ms)
    each = "-" if step.cpu_us_per_event is None else f"{step.cpu_us_per_event:.0f}"
    shares = [f"{step.client_cpu:.2f}", f"{step.server_cpu:.2f}"]
    rates = [f"{step.requests_per_s:.1f}", f"{step.events_per_s:.0f}"]
    return [step.step, str(step.concurrency), *rates, each, *shares, *map(_both, spreads)]


def _both(spread: Quantiles) -> str:
    return "-" if spread.median is None else f"{spread.median:.2f} / {spread.p99:.2f}"
