"""Runs the calibration of a server, and keeps what it found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from history.reader import read_history, read_plan
from history.stack_capabilities import CAPABILITIES
from kvchaos.calibration.answer_differences import MOST_NATS, answer_differences, problem
from kvchaos.calibration.stored_calibrations import Calibration, ServerIdentity, store_calibration
from kvchaos.campaign.campaign import run_all
from kvchaos.doctor.gpu import installed_cards
from kvchaos.doctor.machine_checks import processor_name
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace, beside_packages
from kvchaos.planning.run_plan import UNKNOWN, RunRequest
from kvchaos.planning.scenario_file import CALIBRATION, FOLDER
from kvchaos.servers import tiny_model
from kvchaos.servers.gpu_arguments import gpu_args
from kvchaos.servers.served_model import hub_model
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.device import batch_invariant

SCENARIO = "equal-answers.yaml"
WIDE_NATS = 2 * MOST_NATS
"""The tolerance of the calibration's own run: its answers are measured, not judged."""


def calibration_scenario() -> Path:
    """The file of the scenario that a calibration runs."""
    return beside_packages(FOLDER) / CALIBRATION / SCENARIO


def identity_of(request: RunRequest) -> ServerIdentity:
    """What decides how the server of a run on this machine rounds."""
    server, scale = request.server, request.scaling.scale if request.scaling else "tiny"
    assert isinstance(server, ServerEnv)
    is_tiny = scale == "tiny" and CAPABILITIES[request.stack].tiny_model
    on_gpu = server.platform == "cuda"
    cards = ", ".join(sorted(card.name for card in installed_cards()))
    hub = hub_model()
    return ServerIdentity(
        device=cards if on_gpu and cards else processor_name() or UNKNOWN,
        vllm=server.vllm,
        torch=server.torch,
        model=tiny_model.FORMAT if is_tiny or not on_gpu else f"{hub.name}@{hub.revision}",
        scale=scale,
        batch_invariant=on_gpu and batch_invariant(),
        gpu_args=gpu_args() if on_gpu else (),
    )


def calibrate(request: RunRequest, workspace: Workspace, console: Console) -> Calibration:
    """Run the request, which is that of the calibration's scenario, and store what follows from it.

    Raises UsageError when the run did not end well, or its answers differ by more than rounding.
    """
    rows = run_all([request], workspace, console)
    run_dir = rows[0].run_dir
    if rows[0].verdict.outcome != "as expected":
        raise UsageError(f"{run_dir}: the calibration is {rows[0].verdict.outcome}; see its report.html")
    found = answer_differences(read_history(run_dir))
    if (reason := problem(found)) is not None:
        raise UsageError(f"{run_dir}: {reason}; without a calibration give --logprob-tolerance")
    calibration = Calibration(
        identity=identity_of(request),
        pairs=found.pairs,
        equal=found.equal,
        largest=found.largest,
        diverged=found.diverged,
        tolerance=found.tolerance,
        run=read_plan(run_dir).run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store_calibration(calibration, workspace.cache)
    return calibration


def calibration_line(calibration: Calibration) -> str:
    """What a calibration says, for people."""
    equal = f"{calibration.equal} of {calibration.pairs} pairs of answers are equal bit for bit"
    if not calibration.tolerance:
        return f"{equal}; no tolerance"
    return (
        f"{equal}, {calibration.diverged} have another token, logprobs of equal tokens differ by up to "
        f"{calibration.largest:.3g}; tolerance {calibration.tolerance:.3g}"
    )
