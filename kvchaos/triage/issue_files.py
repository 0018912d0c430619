"""The issue of a failing run and its script, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from history.jsonl import one_line
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from kvchaos.triage.bisection_result import Bisection
from kvchaos.triage.failure_repeats import RepeatResult
from kvchaos.triage.load_script import load_script
from kvchaos.triage.result_files import write_text_file
from kvchaos.triage.shrunk_scenario import scenario_text
from kvchaos.triage.triage_runner import StoredFailure
from kvchaos.triage.upstream_issue import IssueMaterial, issue_text, title

REPEATS, BISECTION = "repeats.json", "bisection.json"
R = TypeVar("R", bound=msgspec.Struct)
_repeats = msgspec.json.Decoder(RepeatResult)
_bisections = msgspec.json.Decoder(Bisection)


@dataclass(frozen=True, slots=True)
class IssueFiles:
    """What was written."""

    title: str
    text: Path
    script: Path | None
    reason: str
    """Why there is no script."""


def write_issue(stored: StoredFailure, path: Path, runs: Path) -> IssueFiles:
    """Write the text to `path` and the script next to it, under its name with `.py`.

    `runs`: the folder with the results of `kvchaos reproduce` and `bisect`. Raises UsageError.
    """
    plan = stored.history.plan
    made = load_script(plan, stored.history.requests, stored.trace, stored.failure)
    script = path.with_suffix(".py")
    material = IssueMaterial(
        stored=stored,
        script=script.name if made.text is not None else None,
        no_script=made.reason,
        scenario_file=_scenario_file(stored),
        repeats=_result(runs / f"reproduce-{plan.run_id}" / REPEATS, _repeats),
        releases=_result(runs / f"bisect-{plan.run_id}" / BISECTION, _bisections),
    )
    write_text_file(path, issue_text(material))
    if made.text is not None:
        write_text_file(script, made.text)
    return IssueFiles(title(stored), path, script if made.text is not None else None, made.reason)


def _scenario_file(stored: StoredFailure) -> str | None:
    """The scenario as a file; None where this suite has the same under its name. Raises UsageError."""
    scenario = stored.history.plan.scenario
    own = {path.stem: path for path in scenario_files()}
    if scenario.name in own:
        same = load_scenario(own[scenario.name]).model_copy(update={"summary": scenario.summary})
        if same == scenario:
            return None
    return scenario_text(scenario)


def _result(path: Path, decoder: msgspec.json.Decoder[R]) -> R | None:
    """A result of an earlier command; None where there is none. Raises UsageError."""
    try:
        return decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {one_line(error)}; remove it") from error
