"""What filling the matrix needs of this machine: servers, campaigns, stored runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.version import Version
from rich.console import Console

from history.plan import RunPlan
from history.reader import UnreadableRun
from history.scenario import Scenario
from history.verdict import RunVerdict
from kvchaos.bugs.bug_catalogue import expectation_for, known_bugs
from kvchaos.campaign.campaign import run_all
from kvchaos.errors import Interrupted, UsageError
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.matrix.digests import JUDGED_KEYS
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest, declared_effects
from kvchaos.servers import install_server as installing
from kvchaos.servers.installation import exclusive, shown
from kvchaos.servers.server_registry import ServerEnv, read_server, server_folder
from kvchaos.terminal.result_tables import CampaignRow

OnRow = Callable[[CampaignRow], None]


class Machine(Protocol):
    """A machine that runs and judges cells of the matrix."""

    def reserved(self, release: str) -> AbstractContextManager[None]:
        """Hold a lock, so that one matrix at a time works on a release here."""

    def server(self, release: str) -> ServerEnv:
        """The environment of a release, installed if it is missing. Raises UsageError."""

    def put_away(self, release: str) -> bool:
        """Remove the environment if a matrix installed it; whether it was removed."""

    def keep(self, release: str) -> None:
        """Treat the environment as installed by the user from now on."""

    def run(self, server: ServerEnv, scenarios: Sequence[Scenario], seed: int, on_row: OnRow) -> None:
        """Run scenarios by one campaign.

        Raises UsageError for the first that cannot be run, and KeyboardInterrupt.
        """

    def has_run(self, run: str | None) -> bool:
        """Whether the directory of a run is there."""

    def judge(self, run: str, scenario: Scenario) -> RunVerdict | None:
        """Judge a stored run by what is known now; None when it cannot be read."""


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """Runs and judges cells of the matrix on this machine, with its installed releases."""

    workspace: Workspace
    console: Console

    @contextmanager
    def reserved(self, release: str) -> Iterator[None]:
        """Hold the lock of a release, after waiting for another matrix that has it."""
        path = self._beside(release, "matrix.lock")
        path.parent.mkdir(parents=True, exist_ok=True)

        def waiting() -> None:
            self.console.print(f"{release}: waiting for another matrix that works on it", highlight=False)

        with exclusive(path, waiting):
            yield

    def server(self, release: str) -> ServerEnv:
        """The environment of a release; installs it if necessary. Raises UsageError."""
        found = read_server(server_folder(release, self.workspace.cache))
        if found is not None and not found.missing_files():
            return found
        # Noted first: an installation that is cut short is removed by the next start, too.
        self._note(release).touch()
        with shown(self.console) as progress:
            return installing.install(release, self.workspace.cache, progress)

    def put_away(self, release: str) -> bool:
        """Remove an environment that the matrix installed; returns whether it did."""
        if not self._note(release).exists():
            return False
        if server_folder(release, self.workspace.cache).is_dir():
            with shown(self.console) as progress:
                installing.remove(release, self.workspace.cache, progress)
        self.keep(release)
        return True

    def keep(self, release: str) -> None:
        """Keep the environment of a release, even if the matrix installed it."""
        self._note(release).unlink(missing_ok=True)

    def run(self, server: ServerEnv, scenarios: Sequence[Scenario], seed: int, on_row: OnRow) -> None:
        """Run scenarios by one campaign, and print a line for each run."""
        requests = [
            RunRequest(scenario=scenario, server=server, seed=seed, workers=1) for scenario in scenarios
        ]
        ended = 0

        def counted(row: CampaignRow) -> None:
            nonlocal ended
            ended += 1
            on_row(row)

        try:
            run_all(requests, self.workspace, self.console, reuse=True, on_row=counted)
        except UsageError as error:
            if isinstance(error.__cause__, Interrupted):
                raise KeyboardInterrupt(str(error)) from error
            raise
        if ended < len(requests):
            raise KeyboardInterrupt("interrupted in a run")

    def has_run(self, run: str | None) -> bool:
        """Whether a run directory still exists."""
        return run is not None and (self.workspace.runs / run).is_dir()

    def judge(self, run: str, scenario: Scenario) -> RunVerdict | None:
        """Judge a stored run with today's expectation; None when it cannot be read."""
        run_dir = self.workspace.runs / run
        try:
            return judge_run_dir(run_dir, lambda plan: plan_now(plan, scenario))
        except UnreadableRun:
            return None
        except OSError as error:
            raise UsageError(f"{run_dir}: the verdict cannot be written: {error.strerror}") from error

    def _note(self, release: str) -> Path:
        """There while the environment is one that a matrix installed."""
        return self._beside(release, "matrix")

    def _beside(self, release: str, what: str) -> Path:
        folder = server_folder(release, self.workspace.cache)
        return folder.with_name(f".{folder.name}.{what}")


def plan_now(plan: RunPlan, scenario: Scenario) -> RunPlan:
    """The plan of a stored run with today's expectation.

    It covers the known bugs of its release, the effects that its faults declare, and the keys of its scenario
    that only judging reads.
    """
    release = Version(Version(plan.as_release or plan.versions.vllm).public)
    judged = {key: getattr(scenario, key) for key in JUDGED_KEYS}
    return plan.model_copy(
        update={
            "scenario": plan.scenario.model_copy(update=judged),
            "expectation": expectation_for(scenario, release, known_bugs()),
            "effects": tuple(declared_effects(plan.scenario.faults, release)),
        }
    )
