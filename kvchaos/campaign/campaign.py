"""Runs of several scenarios one after the other, each judged as soon as it has ended."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from chaos.outside.injector import ForeignFaultFailed
from history import layout
from history.events import PhaseEnd, PhaseStart, typed
from history.plan import RunPlan
from history.reader import UnreadableRun, read_events, read_plan
from history.verdict import RunVerdict
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.campaign.server_pool import ProvidedServer, ServerPool
from kvchaos.conductor.conductor import Conductor
from kvchaos.conductor.run_parts import RunSetup
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import Workspace, state_folder
from kvchaos.planning.open_file_limits import needs_of_run, raise_limit
from kvchaos.planning.run_plan import (
    RunRequest,
    make_run_dir,
    new_run_id,
    resolve,
    resolve_attached,
    write_plan,
)
from kvchaos.planning.scenario_file import check_stack
from kvchaos.prometheus.local_prometheus import local_prometheus
from kvchaos.prometheus.run_monitor import create_monitor
from kvchaos.stacks.attach import AttachedServer
from kvchaos.stacks.network import proxy_for
from kvchaos.stacks.orphans import end_and_remove, find_orphans
from kvchaos.stacks.process_registry import RegisteredStarter
from kvchaos.stacks.server_command import Launch
from kvchaos.terminal.display import CampaignPosition, Display, RunDuration, left_s
from kvchaos.terminal.result_tables import (
    CampaignRow,
    Repeat,
    left_line,
    opening_line,
    repeat_line,
    show_campaign,
    show_run,
    verdict_line,
)

TrafficInterceptor = Callable[[Launch, Path], AbstractContextManager[str]]
"""Puts something between the suite and a server, for the time of a run (its directory is given); yields
the address to use instead."""


@dataclass(frozen=True, slots=True)
class CampaignContext:
    """The campaign that a run is part of."""

    position: CampaignPosition | None
    pool: ServerPool
    following: RunRequest | None
    """What will be run next, if anything."""
    repeats: str | None = None
    """The run that this one repeats on a fresh server."""


OnRow = Callable[[CampaignRow], None]
"""Gets each run as soon as it is judged, but not one that an interrupt cut short."""
NS_PER_S = 1_000_000_000
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def clean_orphans(workspace: Workspace, console: Console) -> None:
    """End what killed conductors left, before anything new starts."""
    for leftover in find_orphans(state_folder(workspace.cache)):
        result = end_and_remove(leftover)
        result_line = "; ".join((*result.ended, *result.remaining)) or "nothing was left"
        console.print(
            f"cleaned after run {leftover.state.run_id}: {result_line}", soft_wrap=True, markup=False
        )


def run_all(
    requests: Sequence[RunRequest],
    workspace: Workspace,
    console: Console,
    *,
    reuse: bool = False,
    on_row: OnRow | None = None,
    budget: RunBudget | None = None,
) -> list[CampaignRow]:
    """Conduct and judge each request, and show each verdict as soon as it is there.

    With `reuse` a server that was proved clean serves the next run, too. The campaign ends when the budget
    has no time for another run. An interrupt ends it after the run it hit was judged. What was judged is
    shown whatever ends it.
    """
    for request in requests:
        allow_open_files(request)
    rows: list[CampaignRow] = []
    budget = budget or RunBudget(math.inf)
    if len(requests) > 1:
        console.print(opening_line(len(requests), requests[0].server.name), highlight=False, markup=False)
    try:
        with interrupts(), ServerPool(workspace, reuse=reuse and len(requests) > 1) as pool:
            for row in _run_each(requests, workspace, console, rows, pool, budget):
                if on_row is not None:
                    on_row(row)
    except Interrupted as signal:
        raise KeyboardInterrupt(str(signal)) from signal  # Between two runs.
    finally:
        if len(requests) > 1 and rows:
            show_campaign(console, rows, [request.scenario.name for request in requests])
    return rows


def _run_each(
    requests: Sequence[RunRequest],
    workspace: Workspace,
    console: Console,
    rows: list[CampaignRow],
    pool: ServerPool,
    budget: RunBudget,
) -> Iterator[CampaignRow]:
    """Add a row for each run, and yield those of the runs that went to their end."""
    ended: list[RunDuration] = []
    sizes = [sum(phase.requests for phase in request.scenario.phases) for request in requests]
    for number, request in enumerate(requests, start=1):
        if not budget.fits():
            break
        began = time.monotonic()
        position = CampaignPosition(number, len(requests), left_s(ended, sizes[number:]))
        following = requests[number] if number < len(requests) else None
        context = CampaignContext(position, pool, following)
        run_dir, interrupted = run_one(request, workspace, console, None, context)
        row = CampaignRow(_judge(run_dir), run_dir)
        rows.append(row)
        pool.judged(run_dir.name, row.verdict.outcome)
        red = row.verdict.outcome != "as expected"
        if not interrupted and red and (earlier := _earlier(run_dir, request)):
            context = CampaignContext(position, pool, None, repeats=run_dir.name)
            again_dir, interrupted = run_one(request, workspace, console, None, context)
            row = rows[-1] = replace(row, again=Repeat(_judge(again_dir), again_dir, earlier))
        duration = _duration(run_dir, time.monotonic() - began)
        ended.append(duration)
        budget.ended(duration.whole_s)
        if len(requests) > 1:
            console.print(verdict_line(row, duration.whole_s))
        if len(requests) == 1 or row.verdict.outcome != "as expected":
            show_run(console, read_plan(run_dir), row.verdict, run_dir)
        if row.again is not None:
            console.print(repeat_line(row.again), highlight=False, markup=False, soft_wrap=True)
        if interrupted:
            break
        yield row
        if number == 1 < len(requests):
            console.print(left_line(len(requests) - 1, left_s(ended, sizes[1:])), highlight=False)


def _earlier(run_dir: Path, request: RunRequest) -> tuple[str, ...]:
    """The runs that its server had served before, where a fresh server can be had instead."""
    return () if isinstance(request.server, AttachedServer) else read_plan(run_dir).preceded_by


def allow_open_files(request: RunRequest) -> None:
    """Raise the limit of open files to what the run needs. Raises UsageError when the hard one is lower."""
    raise_limit(
        needs_of_run(request.scenario, request.workers, request.stack, joined=request.listen is not None)
    )


def _duration(run_dir: Path, whole_s: float) -> RunDuration:
    """How long a run took, its phases by their events."""
    load_ns = sent = began_ns = 0
    for event in map(typed, read_events(run_dir)):
        match event.data:
            case PhaseStart():
                began_ns = event.t_ns
            case PhaseEnd():
                load_ns += event.t_ns - began_ns
                sent += event.data.sent
    return RunDuration(whole_s, load_ns / NS_PER_S, sent)


def _judge(run_dir: Path) -> RunVerdict:
    try:
        return judge_run_dir(run_dir)
    except UnreadableRun as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error


def run_one(
    request: RunRequest,
    workspace: Workspace,
    console: Console,
    interceptor: TrafficInterceptor | None = None,
    context: CampaignContext | None = None,
) -> tuple[Path, bool]:
    """Conduct one run. Returns its directory and whether a signal cut it short. Raises UsageError.

    By itself, without a campaign, it has a server of its own.
    """
    context = context or CampaignContext(None, ServerPool(workspace, reuse=False), None)
    check_stack(request.scenario, request.stack)
    allow_open_files(request)
    run_id = new_run_id(request)
    run_dir = make_run_dir(workspace.runs, run_id)
    try:
        with (
            interrupts(),
            Display(console, request.scenario, context.position) as display,
            context.pool.provide(request, run_dir, context.following) as provided,
        ):
            _conduct(request, provided, run_dir, display, interceptor, context.repeats)
    except Interrupted as signal:
        console.print(f"{request.scenario.name}: {signal}")
        if not (run_dir / layout.EVENTS).exists():
            raise UsageError(f"{signal} before the run began") from signal
        return run_dir, True
    except UsageError:
        with suppress(OSError):
            run_dir.rmdir()  # Only when it is empty.
        raise
    except ForeignFaultFailed as error:
        raise UsageError(f"{run_dir}: {error}") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise UsageError(f"{run_dir}: {os.strerror(error.errno)}: free space and run again") from error
        raise
    return run_dir, False


def _conduct(
    request: RunRequest,
    provided: ProvidedServer,
    run_dir: Path,
    display: Display,
    interceptor: TrafficInterceptor | None,
    repeats: str | None,
) -> None:
    if isinstance(request.server, AttachedServer):
        plan = resolve_attached(request, request.server, run_dir.name)
        plan = plan.model_copy(update={"preceded_by": provided.preceded_by})
        _carry_out(request, plan, provided, run_dir, display)
        return
    prepared = provided.prepared
    assert prepared is not None
    launch = prepared.launch
    with interceptor(launch, run_dir) if interceptor else nullcontext(launch.base_url) as base_url:
        plan = resolve(request, run_dir.name, launch, prepared.model, base_url)
        use = {
            "preceded_by": provided.preceded_by,
            "fresh_because": provided.fresh_because,
            "repeats": repeats,
        }
        _carry_out(request, plan.model_copy(update=use), provided, run_dir, display)


def _carry_out(
    request: RunRequest, plan: RunPlan, provided: ProvidedServer, run_dir: Path, display: Display
) -> None:
    """Conduct a run with the Prometheus of the stack or a local one, if requested.

    The load goes through the proxy, if there is one.
    """
    record = provided.record
    prometheus = provided.prepared.prometheus if provided.prepared else None
    if prometheus is None and request.prometheus:
        prometheus = local_prometheus(run_dir, record)
    if prometheus is not None:
        plan = plan.model_copy(update={"prometheus": prometheus.plan})
    with proxy_for(plan, run_dir, record) as network:
        if network is not None:
            plan = plan.model_copy(update={"load_url": network.url})
        write_plan(plan, run_dir)
        setup = RunSetup(
            plan=plan,
            run_dir=run_dir,
            stack=provided.stack,
            display=display,
            prometheus=create_monitor(plan, run_dir, prometheus),
            network=network,
            starter=RegisteredStarter(record),
            files=provided.files,
            handover=provided.handover,
        )
        Conductor(setup).conduct()
