"""Does the suite work with every release that it can install? Run by hand, about an hour:

    make test-all-releases

For each release: install it, the baseline without a fault, three faults with their consequences, and the
contract checks. `--only VERSION` looks at some, `--page-only` at none; the table in docs/releases.md is
made anew from the newest look at each. Exit code 0 when every release is green, or not for a listed bug of
the server alone; 2 when one could not be judged; 1 when one is red.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from history.events import ServerReady
from kvchaos.paths import cache_folder
from kvchaos.servers.releases import known_releases
from tests.server.bench import ROOT, Bench, Finished, RunDir
from tests.server.contract.answers import answers_of, troubles_of
from tests.server.sweep.page import into_page, read_rows, write_row
from tests.server.sweep.row import Row, Trouble, fault_troubles, fired_by, run_troubles

PAGE = ROOT / "docs" / "releases.md"
BASELINE = "baseline-offload"
THREE_FAULTS = Path(__file__).parent / "sweep" / "three-faults.yaml"
INSTALL_S = 1800.0
UNKNOWN = 2
"""Exit code of a run that could not be judged."""


class Look:
    """One look at one release: what was found so far."""

    def __init__(self, release: str, runs: Path) -> None:
        self.release = release
        self._bench = Bench(ROOT, cache_folder())
        self._runs = runs
        self._begin = time.monotonic()
        self._troubles: list[Trouble] = []

    def row(self) -> Row:
        """Look at all of it, as far as it goes. A step that fails does not keep the next from its turn."""
        installed = self._bench.start("server", "install", self.release).finish(INSTALL_S)
        if installed.code != 0:
            self._trouble("install", _last_line(installed))
            return self._row()
        baseline, faults = self._run(BASELINE), self._run(str(THREE_FAULTS))
        if faults is not None:
            self._troubles += fault_troubles(faults.history)
        return self._row(baseline, faults, self._contract())

    def _run(self, scenario: str) -> RunDir | None:
        """A run that says unknown, such as on a busy machine, is tried once more."""
        arguments = ("run", scenario, "--server", self.release, "--runs", str(self._runs), "--seed", "1")
        finished = self._bench.run(*arguments)
        if finished.code == UNKNOWN:
            finished = self._bench.run(*arguments)
        if not finished.runs():
            self._trouble(Path(scenario).stem, _last_line(finished))
            return None
        run = finished.run()
        self._troubles += run_troubles(run)
        return run

    def _contract(self) -> str:
        for text in troubles_of(self.release):
            self._trouble("contract", text)
        answers = answers_of(self.release)
        good = sum(detail is None for detail in answers.details.values())
        return f"{good} of {len(answers.details)}"

    def _trouble(self, part: str, text: str) -> None:
        self._troubles.append(Trouble(part=part, text=text))

    def _row(
        self, baseline: RunDir | None = None, faults: RunDir | None = None, contract: str | None = None
    ) -> Row:
        run = baseline or faults
        return Row(
            release=self.release,
            day=f"{datetime.now(UTC):%Y-%m-%d}",
            seconds=round(time.monotonic() - self._begin),
            generation=_generation(run) if run else None,
            torch=run.history.plan.versions.torch if run else None,
            start_s=_start_s(run) if run else None,
            baseline=_word(baseline) if baseline else None,
            fired=_fired(faults) if faults else {},
            contract=contract,
            troubles=self._troubles,
        )


def _generation(run: RunDir) -> str | None:
    return next((str(line.evidence["generation"]) for line in run.journal("loaded")), None)


def _start_s(run: RunDir) -> float | None:
    ready = run.history.events_of(ServerReady)
    return float(str(ready[0].data.seconds)) if ready else None


def _word(run: RunDir) -> str:
    """The outcome, or the first oracle that is not content with the first line of its evidence."""
    return str(next(run_troubles(run), run.verdict.outcome))


def _fired(run: RunDir) -> dict[str, int]:
    faults = run.history.plan.scenario.faults
    return {fault.id: len(fired_by(run.history, fault.id)) for fault in faults}


def _last_line(finished: Finished) -> str:
    lines = (finished.err.strip() or finished.out.strip()).splitlines()
    return f"exit code {finished.code}: {lines[-1] if lines else 'no word'}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Look at every release.")
    parser.add_argument("--only", action="append", metavar="VERSION", help="may be repeated")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "releases", help="folder for the runs")
    parser.add_argument("--page-only", action="store_true", help="run nothing")
    chosen = parser.parse_args(arguments)
    runs, rows = chosen.runs.absolute(), chosen.runs.absolute() / "rows"
    wanted = [] if chosen.page_only else chosen.only or known_releases()
    for number, release in enumerate(wanted, start=1):
        row = Look(release, runs).row()
        write_row(row, rows)
        told = "".join(f"\n    {trouble}" for trouble in row.troubles)
        sys.stdout.write(f"{number}/{len(wanted)} {release}: {row.colour}, {row.seconds} s{told}\n")
        sys.stdout.flush()
    found = read_rows(rows)
    PAGE.write_text(into_page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    colours = {row.colour for row in found}
    return 1 if "red" in colours else UNKNOWN if "unknown" in colours else 0


if __name__ == "__main__":
    sys.exit(main())
