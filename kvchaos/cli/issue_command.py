"""The command `kvchaos issue`: an issue for vLLM about a failing run, and a script that shows the failure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvchaos.cli.triage_options import RunDir, Runs, Signature
from kvchaos.errors import UsageError
from kvchaos.paths import runs_folder
from kvchaos.triage.issue_files import write_issue
from kvchaos.triage.result_files import result_path
from kvchaos.triage.triage_runner import read_stored_failure

ISSUE = "issue.md"


def issue_command(
    run_dir: RunDir,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the text, NAME.md; the script is NAME.py. Default: issue.md."),
    ] = None,
    signature: Signature = None,
    runs: Runs = None,
) -> int:
    """Write an issue for vLLM about the failure of a run, and a plain script that sends its load.

    It includes the results of `kvchaos reproduce` and `kvchaos bisect` of the run.

    Exit code: 0 written, 3 bad input.
    """
    path = result_path(out, Path.cwd() / ISSUE)
    if path.suffix != ".md":
        raise UsageError(f"--out {path}: use a name that ends with .md")
    stored = read_stored_failure(run_dir, signature)
    made = write_issue(stored, path, runs.absolute() if runs else runs_folder())
    typer.echo(made.title)
    typer.echo(f"text: {made.text}")
    typer.echo(f"script: {made.script or f'none: {made.reason}'}")
    return 0
