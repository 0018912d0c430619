"""Which server a run of a campaign gets: the one that the run before has left, or a new one, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from packaging.version import Version

from history import layout
from history.plan import ServerSettings
from history.verdict import Outcome
from kvchaos.conductor import server_state
from kvchaos.conductor.handover import Handover
from kvchaos.interrupts import Interrupted
from kvchaos.paths import Places, state_folder
from kvchaos.planning import Request
from kvchaos.servers.registry import ServerEnv
from kvchaos.stacks.attach import Attached, AttachStack
from kvchaos.stacks.command import HOST
from kvchaos.stacks.compose.prepare import prepare_compose
from kvchaos.stacks.kept_server import KeptServer
from kvchaos.stacks.prepare import Prepared, Wish, prepare_local
from kvchaos.stacks.record import RunRecord
from kvchaos.stacks.server_files import OwnFiles, ServerFiles
from kvchaos.stacks.stack import Stack

RESETS_THE_TIER = Version("0.22")
"""Releases before say that they reset the offload tier, and do not."""


@dataclass(frozen=True, slots=True)
class Provided:
    """What a run gets of a server."""

    stack: Stack
    record: RunRecord
    files: ServerFiles
    prepared: Prepared | None = None
    """None where the server was there before the campaign."""
    kept: KeptServer | None = None
    """Set where the server is for several runs."""
    handover: Handover | None = None
    """Set where another run may follow on the same server."""
    preceded_by: tuple[str, ...] = ()
    fresh_because: str | None = None


class Servers:
    """The servers of a campaign. At most one is up at a time; leaving the context ends it."""

    def __init__(self, places: Places, *, reuse: bool) -> None:
        self._places = places
        self._reuse = reuse
        self._kept: KeptServer | None = None
        self._identity: Identity | None = None
        """Of the server that is kept."""
        self._reason = "the first run of the campaign" if reuse else None
        """Why the next run gets a new server; None where that needs no reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_kept()

    @contextmanager
    def provide(self, request: Request, run_dir: Path, following: Request | None) -> Iterator[Provided]:
        """A server for the length of a run; `following` is what would be run next. Raises UsageError."""
        provided = self._provided(request, run_dir, following)
        try:
            yield provided
        finally:
            self._take_back(provided)

    def judged(self, run_id: str, outcome: Outcome) -> None:
        """The verdict on the run before: one that is not as expected may have left what nobody looks for."""
        if self._kept is not None and outcome != "as expected":
            self._note(f"{run_id} is {outcome}")
            self._end_kept()

    def _provided(self, request: Request, run_dir: Path, following: Request | None) -> Provided:
        if isinstance(request.server, Attached):
            return Provided(
                AttachStack(request.server),
                self._record(run_dir, run_dir / layout.CONTROL),
                OwnFiles(run_dir),
            )
        wish = self._wish(request, request.server, run_dir)
        reason = self._why_fresh(request)
        if reason is not None:
            self._end_kept()
        shared = self._kept is not None
        may_follow = self._reuse and following is not None and _may_follow(request, following)
        if self._kept is None and may_follow:
            self._kept, self._identity = KeptServer(wish), _identity(request)
        if self._kept is None:
            return self._of_its_own(request, wish)
        return _of_several(self._kept, wish, None if shared else self._reason, may_follow=may_follow)

    def _take_back(self, provided: Provided) -> None:
        """A run has ended; its server lives on only when it was proved clean."""
        if provided.kept is None:
            provided.record.close()
            self._note("the run before had a server of its own")
        elif provided.handover is None:
            self._note("the run before was the last that its server could serve")
            self._end_kept()
        elif not provided.handover.clean:
            why = "; ".join(provided.handover.objections)
            self._note(f"{provided.kept.runs[-1]} did not leave its server clean: {why}")
            self._end_kept()
        else:
            provided.kept.before_load = provided.handover.before
            provided.kept.figures = provided.handover.figures

    def _of_its_own(self, request: Request, wish: Wish) -> Provided:
        record = self._record(wish.run_dir, wish.run_dir / layout.CONTROL)
        try:
            prepared = (prepare_local if request.stack == "local" else prepare_compose)(wish, record)
        except BaseException:
            record.close()
            raise
        files = OwnFiles(wish.run_dir)
        return Provided(prepared.stack, record, files, prepared, fresh_because=self._reason)

    def _why_fresh(self, request: Request) -> str | None:
        """Why the server of the run before will not do; None where it will, or there is none."""
        if self._kept is None:
            return None
        if request.scenario.fresh is not None:
            self._note(f"the scenario needs one: {request.scenario.fresh}")
        elif _identity(request) != self._identity:
            self._note("the run before had other server settings")
        elif (change := change_since_proof(self._kept)) is not None:
            self._note(f"the server of the run before was clean, but then {change}")
        else:
            return None
        return self._reason

    def _note(self, reason: str) -> None:
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

    def _record(self, run_dir: Path, control: Path) -> RunRecord:
        return RunRecord(
            state_folder(self._places.cache), run_id=run_dir.name, run_dir=run_dir, control_dir=control
        )

    def _wish(self, request: Request, server: ServerEnv, run_dir: Path) -> Wish:
        return Wish(
            server=server,
            settings=request.scenario.server,
            run_id=run_dir.name,
            run_dir=run_dir,
            cache=self._places.cache,
            port=self._places.port,
            host=_host(request),
            grafana=request.grafana,
        )


def _of_several(kept: KeptServer, wish: Wish, reason: str | None, *, may_follow: bool) -> Provided:
    earlier = kept.serve(wish.run_id, wish.run_dir)
    stack = kept.prepared.stack
    handover = Handover(stack, kept.files, kept.before_load) if may_follow else None
    return Provided(stack, kept.record, kept.files, kept.prepared, kept, handover, earlier, reason)


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


def _may_follow(request: Request, following: Request) -> bool:
    """Whether the server of one run may serve the next one, should it be clean, and that can be shown."""
    settings = request.scenario.server
    return (
        request.stack == "local"
        and isinstance(request.server, ServerEnv)
        and request.server.release >= RESETS_THE_TIER
        and settings.offload
        and settings.chaos
        and following.scenario.fresh is None
        and _identity(request) == _identity(following)
    )


Identity = tuple[ServerEnv | Attached, ServerSettings, str]
"""Two servers of one identity differ in nothing but what they have served."""


def _identity(request: Request) -> Identity:
    return request.server, request.scenario.server, _host(request)


def _host(request: Request) -> str:
    """Where the server listens: on loopback, or where load workers from elsewhere reach this machine."""
    return HOST if request.join is None else request.join.host
