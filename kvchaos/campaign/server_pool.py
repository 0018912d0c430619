"""The servers of a campaign: a run gets the one that the run before has left, or a new one, and why.

An attached server is always the same: its runs are counted, and it is never started, ended or proved clean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from packaging.version import Version

from history import layout
from history.verdict import Outcome
from kvchaos.conductor import server_state
from kvchaos.conductor.handover import Handover
from kvchaos.errors import Interrupted
from kvchaos.paths import Workspace, state_folder
from kvchaos.planning.run_plan import RunRequest
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.attach import AttachedServer, AttachStack
from kvchaos.stacks.compose.prepare_project import prepare_compose
from kvchaos.stacks.prepare_server import KeptServer, LaunchRequest, Prepare, PreparedServer, prepare_local
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import HOST
from kvchaos.stacks.server_files import OwnFiles, ServerFiles
from kvchaos.stacks.stack import Stack

RESETS_THE_TIER = Version("0.22")
"""Earlier releases report a reset of the offload tier, but do not reset it."""
PREPARE: Mapping[str, Prepare] = {
    "local": prepare_local,
    "compose-cpu": prepare_compose,
    "compose-gpu": prepare_compose,
}
"""The function that prepares a server, by stack."""
FIRST_RUN = "the first run of the campaign"
OTHER_SETTINGS = "the run before had other server settings"
GRAFANA_STAYS = "Grafana stays up with the containers of the run before"
SCENARIO_NEEDS = "the scenario needs one"
CHANGED = "the server of the run before was clean, but then"
"""Why a run gets a server of its own; what the scenario says, and what changed, follows."""
NO_NEXT_RUN = "the run before was the last that its server was to serve"


@dataclass(frozen=True, slots=True)
class ProvidedServer:
    """The server of a run, and what is known about it."""

    stack: Stack
    record: ProcessRegistry
    files: ServerFiles
    prepared: PreparedServer | None = None
    """None where the server was there before the campaign."""
    kept: KeptServer | None = None
    """Set where the server is for several runs."""
    handover: Handover | None = None
    """Set where another run may follow on the same server."""
    obstacle: str | None = None
    """Why none may follow."""
    preceded_by: tuple[str, ...] = ()
    fresh_because: str | None = None


class ServerPool:
    """The servers of a campaign. At most one is up at a time; leaving the context ends it."""

    def __init__(self, workspace: Workspace, *, reuse: bool) -> None:
        self._workspace = workspace
        self._reuse = reuse
        self._kept: KeptServer | None = None
        self._attached_runs: list[str] = []
        """The runs that the attached server has served so far."""
        self._served: RunRequest | None = None
        """What the server that is kept has served last."""
        self._reason = FIRST_RUN if reuse else None
        """Why the next run gets a new server; None where that needs no reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_kept()

    @contextmanager
    def provide(
        self, request: RunRequest, run_dir: Path, following: RunRequest | None
    ) -> Iterator[ProvidedServer]:
        """A server for the length of a run; `following` is what would be run next. Raises UsageError."""
        provided = self._provided(request, run_dir, following)
        try:
            yield provided
        finally:
            self._release(provided)

    def judged(self, run_id: str, outcome: Outcome) -> None:
        """Note the verdict of a run: one that is not as expected may have left state that no check finds."""
        if self._kept is not None and outcome != "as expected":
            self._set_reason(f"{run_id} is {outcome}")
            self._end_kept()

    def _provided(self, request: RunRequest, run_dir: Path, following: RunRequest | None) -> ProvidedServer:
        if isinstance(request.server, AttachedServer):
            return self._attached(request.server, run_dir)
        launch_request = self._launch_request(request, request.server, run_dir)
        obstacle = (
            NO_NEXT_RUN if following is None or not self._reuse else obstacle_between(request, following)
        )
        if self._kept is not None and (reason := self._replacement_reason(self._kept, request)) is not None:
            self._set_reason(reason)
            self._end_kept()
        shared, self._served = self._kept is not None, request
        if self._kept is None and obstacle is not None:
            return self._for_one_run(request, launch_request, obstacle)
        self._kept = self._kept or KeptServer(launch_request, PREPARE[request.stack])
        return _for_several(self._kept, launch_request, obstacle, None if shared else self._reason)

    def _release(self, provided: ProvidedServer) -> None:
        """A run has ended; its server lives on only when it was proved clean and another run may follow."""
        kept, handover = provided.kept, provided.handover
        if kept is None:
            provided.record.close()
        if kept is None or handover is None:
            self._set_reason(provided.obstacle or NO_NEXT_RUN)
            self._end_kept()
        elif not handover.clean:
            self._set_reason(
                f"{kept.runs[-1]} did not leave its server clean: {'; '.join(handover.objections)}"
            )
            self._end_kept()
        else:
            kept.before_load, kept.figures = handover.before, handover.figures

    def _attached(self, server: AttachedServer, run_dir: Path) -> ProvidedServer:
        record = self._record(run_dir, run_dir / layout.CONTROL)
        earlier = tuple(self._attached_runs)
        self._attached_runs.append(run_dir.name)
        return ProvidedServer(AttachStack(server), record, OwnFiles(run_dir), preceded_by=earlier)

    def _for_one_run(
        self, request: RunRequest, launch_request: LaunchRequest, obstacle: str
    ) -> ProvidedServer:
        run_dir = launch_request.run_dir
        record = self._record(run_dir, run_dir / layout.CONTROL)
        with ExitStack() as undo:
            undo.callback(record.close)
            prepared = PREPARE[request.stack](launch_request, record)
            undo.pop_all()
        return ProvidedServer(
            prepared.stack,
            record,
            OwnFiles(run_dir),
            prepared,
            obstacle=obstacle,
            fresh_because=self._reason,
        )

    def _replacement_reason(self, kept: KeptServer, request: RunRequest) -> str | None:
        """Why the server of the run before cannot serve this one; None: it can."""
        obstacle = obstacle_between(self._served, request) if self._served else None
        if obstacle is None and (change := change_since_proof(kept)) is not None:
            return f"{CHANGED} {change}"
        return obstacle

    def _set_reason(self, reason: str) -> None:
        if self._reuse:
            self._reason = reason

    def _end_kept(self) -> None:
        """End the server that is up, if any; once more from the start when the signal comes now."""
        kept = self._kept
        if kept is None:
            return
        try:
            kept.close()
        except Interrupted:
            kept.close()
            raise
        finally:
            self._kept = None

    def _record(self, run_dir: Path, control: Path) -> ProcessRegistry:
        return ProcessRegistry(
            state_folder(self._workspace.cache), run_id=run_dir.name, run_dir=run_dir, control_dir=control
        )

    def _launch_request(self, request: RunRequest, server: ServerEnv, run_dir: Path) -> LaunchRequest:
        return LaunchRequest(
            server=server,
            settings=request.scenario.server,
            run_id=run_dir.name,
            run_dir=run_dir,
            cache=self._workspace.cache,
            port=self._workspace.port,
            host=_host(request),
            grafana=request.grafana,
            scale=request.scaling.scale if request.scaling else "tiny",
        )


def _for_several(
    kept: KeptServer, launch_request: LaunchRequest, obstacle: str | None, reason: str | None
) -> ProvidedServer:
    earlier = kept.serve(launch_request.run_id, launch_request.run_dir)
    stack = kept.prepared.stack
    return ProvidedServer(
        stack,
        kept.registry,
        kept.files,
        kept.prepared,
        kept,
        Handover(stack, kept.files, kept.before_load) if obstacle is None else None,
        obstacle,
        earlier,
        reason,
    )


def change_since_proof(kept: KeptServer) -> str | None:
    """What has changed since the server was proved clean; None: nothing."""
    stack, launch = kept.prepared.stack, kept.prepared.launch
    if not stack.alive():
        return f"it ended with code {stack.exit_code()}"
    before, now = kept.figures or {}, server_state.figures(launch.base_url)
    if now is None:
        return "it shows no metrics"
    moved = [key for key in now.keys() | before.keys() if now.get(key) != before.get(key)]
    return f"{min(moved)} changed" if moved else None


def obstacle_between(run: RunRequest, following: RunRequest) -> str | None:
    """Why the server of a run cannot serve the next one, even if it is clean; None: it can."""
    settings = run.scenario.server
    if not isinstance(run.server, ServerEnv):
        return "the server is attached"
    if run.grafana:
        return GRAFANA_STAYS
    if run.server.release < RESETS_THE_TIER:
        return f"vLLM {run.server.vllm} does not reset its offload tier"
    if not settings.keeps_ledger:
        return "the server of the run before had no ledgers"
    if following.scenario.fresh is not None:
        return f"{SCENARIO_NEEDS}: {following.scenario.fresh}"
    if (run.server, settings, _host(run)) != (following.server, following.scenario.server, _host(following)):
        return OTHER_SETTINGS
    return None


def _host(request: RunRequest) -> str:
    """Where the server listens: on loopback, or where load workers from elsewhere reach this machine."""
    return HOST if request.listen is None else request.listen.host
