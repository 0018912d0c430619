"""How well signatures tell bugs apart: runs of known bugs and planted violations, each with several seeds.

`python -m benchmarks.signature_accuracy run` makes the runs that are missing and stores a line for each;
`python -m benchmarks.signature_accuracy report` prints the shares. A run takes about half a minute.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from history.verdict import Cause, RunVerdict
from kvchaos.campaign.campaign import clean_orphans, run_one
from kvchaos.errors import UsageError
from kvchaos.json_lines import append_json_lines, read_json_lines
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import Workspace, cache_folder
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.servers.server_registry import find_server

STORE = Path(__file__).with_name("signatures.jsonl")
SEEDS = 20


@dataclass(frozen=True, slots=True)
class ShownBug:
    """A bug, or a planted violation, with a scenario that always shows it."""

    bug: str
    """Id of a known bug, or of the fault that plants the violation."""
    scenario: str
    server: str


BUGS = (
    ShownBug("vllm-36533", "mid-prefill-preemption", "0.18.0"),
    ShownBug("vllm-45388", "deadlock-warm-tier", "0.20.2"),
    ShownBug("vllm-46014", "preempt-late-stores", "0.22.1"),
    ShownBug("vllm-pr-48102", "cache-reset", "0.24.0"),
    ShownBug("vllm-49118", "abort-queued", "0.26.0"),
    ShownBug("vllm-54193", "generated-blocks", "0.28.0"),
    ShownBug("vllm-31503", "aborts", "0.32.0"),
    ShownBug("vllm-57596", "parameter-mix", "0.32.0"),
    ShownBug("vllm-pr-37460", "false-accounting", "0.32.0"),
    ShownBug("vllm-49250", "sharers-of-a-failed-prefix", "0.32.0"),
    ShownBug("flip", "corruption-canary", "0.32.0"),
    ShownBug("failed-copy", "failed-copy", "0.32.0"),
)


class SignatureLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run."""

    bug: str
    server: str
    scenario: str
    seed: int
    outcome: str
    signatures: list[str]
    """Of the causes that are this bug."""


@dataclass(frozen=True, slots=True)
class BugAccuracy:
    """What the runs of one bug say."""

    bug: str
    runs: int
    shown: int
    """Runs with a cause that is this bug."""
    signature: str | None
    """The most frequent one."""
    same: int
    """Runs that have it."""
    shared_with: Sequence[str]
    """Other bugs with the same most frequent signature."""


_lines = msgspec.json.Decoder(SignatureLine)


def signatures_of_bug(verdict: RunVerdict, bug: str) -> list[str]:
    """The signatures of the causes that a known bug or a fault with this id explains."""
    return [cause.signature for cause in verdict.causes if _is_of(cause, bug)]


def _is_of(cause: Cause, bug: str) -> bool:
    return bug in cause.known_bugs or bug in cause.explained_by


def accuracies(lines: Sequence[SignatureLine]) -> list[BugAccuracy]:
    """One for each bug, in the order of its first line."""
    modal = {bug: _modal(lines, bug) for bug in dict.fromkeys(line.bug for line in lines)}
    found = []
    for bug, signature in modal.items():
        shown = [line for line in lines if line.bug == bug and line.signatures]
        found.append(
            BugAccuracy(
                bug=bug,
                runs=sum(line.bug == bug for line in lines),
                shown=len(shown),
                signature=signature,
                same=sum(signature in line.signatures for line in shown),
                shared_with=[
                    other
                    for other, its in modal.items()
                    if other != bug and its is not None and its == signature
                ],
            )
        )
    return found


def _modal(lines: Sequence[SignatureLine], bug: str) -> str | None:
    counts = Counter(each for line in lines if line.bug == bug for each in set(line.signatures))
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def report_lines(lines: Sequence[SignatureLine]) -> Iterator[str]:
    """The shares, then each bug."""
    found = accuracies(lines)
    shown, same = sum(each.shown for each in found), sum(each.same for each in found)
    shared = sum(each.shown for each in found if each.shared_with)
    if shown:
        yield f"same bug, same signature: {same / shown:.1%} of {shown} runs that show their bug"
        yield f"runs whose signature is that of another bug, too: {shared / shown:.1%}"
    for each in found:
        others = f"; also of {', '.join(each.shared_with)}" if each.shared_with else ""
        yield f"{each.bug}: {each.same} of {each.shown} ({each.runs} runs): {each.signature}{others}"


def make_runs(seeds: int, folder: Path) -> Iterator[SignatureLine]:
    """Make the runs that the store does not have, seed by seed, and store each. Raises UsageError."""
    done = {(line.bug, line.seed) for line in read_json_lines(STORE, _lines)}
    workspace = Workspace(cache=cache_folder(), runs=folder, port=None)
    console = Console(stderr=True)
    clean_orphans(workspace, console)
    for seed in range(1, seeds + 1):
        for shown in BUGS:
            if (shown.bug, seed) not in done:
                line = _run(shown, seed, workspace, console)
                append_json_lines(STORE, [line])
                yield line


def _run(shown: ShownBug, seed: int, workspace: Workspace, console: Console) -> SignatureLine:
    request = RunRequest(
        scenario=load_scenario(find_scenario(shown.scenario)),
        server=find_server(shown.server, workspace.cache),
        seed=seed,
        workers=1,
        stack="local",
    )
    run_dir, interrupted = run_one(request, workspace, console)
    if interrupted:
        raise KeyboardInterrupt
    verdict = judge_run_dir(run_dir)
    shutil.rmtree(run_dir)
    return SignatureLine(
        bug=shown.bug,
        server=shown.server,
        scenario=shown.scenario,
        seed=seed,
        outcome=verdict.outcome,
        signatures=signatures_of_bug(verdict, shown.bug),
    )


def main() -> None:
    """Make runs, or report on those that are stored."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signature_accuracy")
    parser.add_argument("task", choices=("run", "report"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the run directories")
    options = parser.parse_args()
    try:
        if options.task == "run":
            options.runs.mkdir(parents=True, exist_ok=True)
            for line in make_runs(options.seeds, options.runs.absolute()):
                sys.stdout.write(f"{line.bug}, seed {line.seed}: {line.outcome}: {line.signatures}\n")
                sys.stdout.flush()
        for text in report_lines(read_json_lines(STORE, _lines)):
            sys.stdout.write(f"{text}\n")
    except UsageError as error:
        sys.exit(f"signature_accuracy: {error}")


if __name__ == "__main__":
    main()
