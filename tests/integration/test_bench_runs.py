"""What is made of runs that prove nothing, or in an order that favours one side, is no measurement."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from history.phase_spec import PhaseSpec
from history.plan import RunPlan
from history.scenario import ClientBounds
from kvchaos.bench.bench_analysis import CurvePoint, points
from kvchaos.bench.bench_file import Kind, Slo, read_bench
from kvchaos.bench.bench_page import page_html
from kvchaos.bench.bench_runner import (
    SEED_STRIDE,
    BenchRunner,
    BenchTarget,
    LoadOptions,
    MeasurementInterrupted,
    measure_stored_run,
    remeasure,
    slice_pairs,
)
from kvchaos.bench.bench_scenarios import BenchScenario, bench_scenario
from kvchaos.bench.bench_tables import conclusions, missing_seeds, tables
from kvchaos.bench.procedures import NotMeasured, RateProfile, compare, search, sources, sweep
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli.app import run as command_line
from kvchaos.errors import UsageError
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.stacks.attach import AttachedServer
from tests.support import bench_results
from tests.support.bench_results import bench, bench_run
from tests.support.fake_server_runs import SERVER, register_fake, scenario, write_scenario
from tests.support.histories import Run, clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import make_plan


def strict_plan() -> RunPlan:
    """A golden and a load phase, and a client that must be fast."""
    plan = make_plan(roles=("golden", "load"))
    bounds = ClientBounds(event_loop_lag_ms=50.0, schedule_lag_median_ms=50.0, schedule_lag_ms=50.0)
    limits = plan.scenario.limits.model_copy(update={"client": bounds})
    return plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"limits": limits})})


def with_phases(plan: RunPlan, *phases: PhaseSpec) -> RunPlan:
    return plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"phases": phases})})


def whole_run(run_dir: Path, damage: Callable[[Run], object] = lambda run: None, requests: int = 4) -> Path:
    """A run with a golden and a load phase that went as expected, but for the damage."""
    golden, load = (
        phase.model_copy(update={"requests": requests}) for phase in strict_plan().scenario.phases
    )
    run = clean_run(with_phases(strict_plan(), golden, load))
    damage(run)
    write_run(run, run_dir)
    return run_dir


def slow_client(run: Run) -> None:
    run.client = [msgspec.structs.replace(record, event_loop_lag_us=[90_000] * 200) for record in run.client]


def wrong_answer(run: Run) -> None:
    run.change_request(run.first_of("load"), token_ids=[11, 12, 13, 99])


def test_a_good_run_counts_and_its_phase_is_measured(tmp_path: Path) -> None:
    run = measure_stored_run(whole_run(tmp_path / "run"), ["load"], 1, "", Slo(ttft_ms=30.0))
    assert (run.outcome, run.why_not) == ("as expected", None)
    (phase,) = run.phases
    assert (phase.phase, phase.figures.ok, phase.figures.good_share) == ("load", 4, 1.0)


@pytest.mark.parametrize(
    ("damage", "outcome", "why"),
    [
        (slow_client, "unknown", "golden"),
        (wrong_answer, "not as expected", "answers"),
    ],
)
def test_a_run_that_proves_nothing_does_not_count(
    tmp_path: Path, damage: Callable[[Run], object], outcome: str, why: str
) -> None:
    run = measure_stored_run(whole_run(tmp_path / "run", damage), ["load"], 1, "", None)
    assert run.outcome == outcome
    assert run.why_not is not None
    assert why in run.why_not
    assert run.phases == []


def test_a_run_whose_phase_never_ended_does_not_count(tmp_path: Path) -> None:
    run = measure_stored_run(whole_run(tmp_path / "run"), ["load", "later"], 1, "", None)
    assert run.why_not is not None
    assert "later" in run.why_not
    assert run.phases == []


def test_no_run_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/nothing"):
        measure_stored_run(tmp_path / "nothing", ["load"], 1, "", None)


@dataclass
class Pretended:
    """In place of a campaign: notes what it is asked to run, and leaves a run of this kind."""

    damages: list[Callable[[Run], object]] = field(default_factory=list)
    requested: list[tuple[str, int, list[float]]] = field(default_factory=list)
    """Server, seed and rates of each run."""
    interrupt_at: int = 10_000

    def run_one(self, request: RunRequest, workspace: Workspace, console: Console) -> tuple[Path, bool]:
        number = len(self.requested)
        phases = request.scenario.phases[1:]
        rates = [phase.arrivals.rate for phase in phases if phase.arrivals.kind == "poisson"]
        self.requested.append((request.server.name, request.seed, rates))
        plan = strict_plan()
        golden, load = plan.scenario.phases
        made = (load.model_copy(update={"name": one.name, "arrivals": one.arrivals}) for one in phases)
        run = clean_run(with_phases(plan, golden, *made))
        if self.damages:
            self.damages.pop(0)(run)
        run_dir = workspace.runs / f"run-{number}"
        write_run(run, run_dir)
        return run_dir, number >= self.interrupt_at


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended()
    monkeypatch.setattr("kvchaos.bench.bench_runner.run_one", pretended.run_one)
    return pretended


@pytest.fixture
def base(tmp_path: Path) -> BenchScenario:
    return bench_scenario(load_scenario(write_scenario(tmp_path / "small.yaml", scenario())), "load")


def target(base: BenchScenario, folder: Path, side: str = "") -> BenchTarget:
    server = register_fake(folder / f"cache-{side}", name=side or SERVER)
    return BenchTarget(side, base, server)


def bencher(folder: Path, kind: Kind, *sides: str, slo: Slo | None = None) -> BenchRunner:
    (folder / "bench").mkdir()
    whole = bench(kind, [], wanted=[1, 2], sides=sides or ("",), slo=slo)
    workspace = Workspace(cache=folder / "cache", runs=folder, port=None)
    return BenchRunner(whole, folder / "bench", workspace, LoadOptions(), Console(file=io.StringIO()))


def test_compared_sides_alternate_to_cancel_drift(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    made = bencher(tmp_path, "compare", "off", "on")
    compare(made, (target(base, tmp_path, "off"), target(base, tmp_path, "on")), range(4))
    assert [name for name, _, _ in campaign.requested] == ["off", "on", "on", "off", "on", "off", "off", "on"]
    assert [seed for _, seed, _ in campaign.requested] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert missing_seeds(made.bench) == []


def test_unknown_run_is_repeated_once_and_both_are_kept(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    campaign.damages = [slow_client]
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1, 2], [2.0, 4.0], RateProfile(5.0, 50))
    assert [seed for _, seed, _ in campaign.requested] == [1, 1, 2]
    assert [run.why_not is None for run in made.bench.runs] == [False, True, True]
    assert missing_seeds(made.bench) == []
    assert any(line.startswith("run-0 ") for line in conclusions(made.bench))


def test_side_without_valid_runs_is_reported_as_missing(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    campaign.damages = [slow_client, slow_client]
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1, 2], [2.0], RateProfile(5.0, 50))
    assert missing_seeds(made.bench) == [1]
    assert conclusions(made.bench)[-1].endswith("seed 1")


def test_sources_are_measured_in_the_runs_that_the_budget_allows(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    made, chosen = bencher(tmp_path, "sources"), target(base, tmp_path)
    sources(made, chosen, [1, 2, 3], RunBudget(60.0))
    assert [seed for _, seed, _ in campaign.requested] == [1, 2, 3]
    sources(made, chosen, [4], RunBudget(0.0))
    assert len(campaign.requested) == 3


def test_a_violation_is_not_tried_away(tmp_path: Path, base: BenchScenario, campaign: Pretended) -> None:
    campaign.damages = [damaged_rate]
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1], [2.0], RateProfile(5.0, 50))
    assert len(campaign.requested) == 1
    assert made.bench.runs[0].outcome == "not as expected"


def damaged_rate(run: Run) -> None:
    run.change_request(run.first_of("rate-1"), token_ids=[11, 12, 13, 99])


def test_attached_server_never_gets_the_same_seed_twice(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    there = AttachedServer(
        name="127.0.0.1:8000",
        vllm="0.32.0",
        base_url="http://127.0.0.1:8000",
        model="tiny",
        max_model_len=768,
        block_size=32,
        gpu_blocks=40,
    )
    campaign.damages = [slow_client]
    made = bencher(tmp_path, "sweep")
    sweep(made, BenchTarget("", base, there, "attach"), [1, 2], [2.0], RateProfile(5.0, 50))
    assert [seed for _, seed, _ in campaign.requested] == [1, 1 + SEED_STRIDE, 2 + 2 * SEED_STRIDE]
    assert missing_seeds(made.bench) == []


def test_default_rates_surround_the_closed_loop_throughput(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1, 2], [], RateProfile(5.0, 50))
    first, *rest = [rates for _, _, rates in campaign.requested]
    assert first == []
    # The pretended server takes 100 ms for a request, one after the other.
    assert rest == [[pytest.approx(share * 9.96, rel=0.01) for share in (0.25, 0.5, 0.7, 0.85, 1, 1.2)]] * 2
    assert missing_seeds(made.bench) == []


def keeps_up_to(capacity: float) -> Callable[[Sequence[CurvePoint]], float | None]:
    """A knee as a server of that capacity, arrivals/s, would show it."""

    def knee(curve: Sequence[CurvePoint]) -> float | None:
        rates = [point.rate for point in curve if point.rate is not None]
        return max(rate for rate in rates if rate <= capacity) if max(rates) > capacity else None

    return knee


@pytest.mark.parametrize(("capacity", "runs"), [(15.0, 2), (80.0, 3), (1000.0, 4)])
def test_sweep_raises_the_rate_until_throughput_saturates(
    tmp_path: Path,
    base: BenchScenario,
    campaign: Pretended,
    monkeypatch: pytest.MonkeyPatch,
    capacity: float,
    runs: int,
) -> None:
    monkeypatch.setattr("kvchaos.bench.procedures.knee", keeps_up_to(capacity))
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1, 2], [], RateProfile(5.0, 50))
    requested = [(seed, rates) for _, seed, rates in campaign.requested[1:]]
    assert [seed for seed, _ in requested] == [1] * runs + [2] * runs
    assert [rates for _, rates in requested[:runs]] == [rates for _, rates in requested[runs:]]
    highest = [rates[-1] for _, rates in requested[:runs]]
    assert highest == [pytest.approx(11.95 * 3**step, rel=0.02) for step in range(runs)]
    # Rates of different runs are different points, whatever their phases are called.
    assert [len(point.measured) for point in points(made.bench) if point.rate] == [2] * (6 + 3 * (runs - 1))


def test_no_default_rates_without_a_valid_closed_loop_run(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    campaign.damages = [slow_client, slow_client]
    with pytest.raises(NotMeasured, match="golden"):
        sweep(bencher(tmp_path, "sweep"), target(base, tmp_path), [1], [], RateProfile(5.0, 50))


def test_slo_search_uses_the_share_of_good_requests(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    campaign.damages = [make_slow, lambda run: None, make_slow]
    made = bencher(tmp_path, "slo", slo=Slo(ttft_ms=100.0, share=0.99))
    search(made, target(base, tmp_path), [1], (0.0, 8.0), 0.4, RateProfile(5.0, 50))
    assert [rates for _, _, rates in campaign.requested] == [[8.0], [4.0], [6.0]]
    (line, *_) = conclusions(made.bench)
    assert all(figure in line for figure in ("TTFT", "100 ms", "0.99", "4 arrivals/s"))


def make_slow(run: Run) -> None:
    index = run.first_of("rate-1")
    run.change_request(index, scheduled_ns=run.requests[index].scheduled_ns - 200_000_000, client_queued=True)


def test_interrupted_measurement_keeps_its_finished_runs(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    campaign.interrupt_at = 1
    made = bencher(tmp_path, "sweep")
    with pytest.raises(MeasurementInterrupted):
        sweep(made, target(base, tmp_path), [1, 2, 3], [2.0], RateProfile(5.0, 50))
    assert len(read_bench(made.folder).runs) == 2


def test_figures_are_reproducible_from_the_runs_alone(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    made = bencher(tmp_path, "sweep", slo=Slo(e2el_ms=200.0))
    sweep(made, target(base, tmp_path), [1, 2], [2.0, 4.0], RateProfile(5.0, 50))
    assert remeasure(read_bench(made.folder), made.folder) == made.bench


def test_bench_page_shows_all_figures_and_escapes_input(
    tmp_path: Path, base: BenchScenario, campaign: Pretended
) -> None:
    made = bencher(tmp_path, "sweep")
    sweep(made, target(base, tmp_path), [1, 2], [2.0, 4.0], RateProfile(5.0, 50))
    page = page_html(msgspec.structs.replace(made.bench, scenario="<script>"))
    assert "<script" not in page
    whole = page_html(made.bench)
    assert "<svg" in whole
    assert 'href="run-1/report.html"' in whole
    for cell in (cell for sheet in tables(made.bench) for row in sheet.rows for cell in row):
        assert cell in whole


def test_bench_page_without_measurements_shows_it() -> None:
    lost = bench_run(1, (2.0, bench_results.figures()), why_not="too slow a client")
    page = page_html(bench("sweep", [lost], wanted=[1]))
    assert "no data" in page
    assert lost.why_not is not None
    assert lost.why_not in page


def test_two_stored_runs_are_compared_by_slices_of_their_phases(tmp_path: Path) -> None:
    first = whole_run(tmp_path / "one", requests=100)
    second = whole_run(tmp_path / "two", requests=100)
    found = slice_pairs(first, second)
    assert {phase: len(pairs) for phase, pairs in found.items()} == {"golden": 10, "load": 10}
    assert sum(one.ok for one, _ in found["load"]) == 100


def test_stored_runs_with_different_requests_or_unknown_verdict_are_not_compared(tmp_path: Path) -> None:
    good = whole_run(tmp_path / "one", requests=100)
    with pytest.raises(UsageError, match=r"two .* golden"):
        slice_pairs(good, whole_run(tmp_path / "two", slow_client, requests=100))
    with pytest.raises(UsageError, match=r"one.*three"):
        slice_pairs(good, whole_run(tmp_path / "three", requests=101))
    with pytest.raises(UsageError, match=r"four.*five"):
        slice_pairs(whole_run(tmp_path / "four"), whole_run(tmp_path / "five"))


def test_comparison_measures_the_slowdown_of_a_slower_server(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_fake(cache)
    content = scenario()
    content["limits"]["client"] = {
        "event_loop_lag_ms": 2000.0,
        "schedule_lag_ms": 2000.0,
        "schedule_lag_median_ms": 2000.0,
    }
    path = str(write_scenario(tmp_path / "small.yaml", content))
    sides = [f'extra_args=[--fake-token-s, "{pause}"]' for pause in ("0.02", "0.06")]
    arguments = ["bench", "compare", path, "--server", SERVER, "--phase", "load", "--pairs", "1"]
    code = command_line([*arguments, "--a", sides[0], "--b", sides[1], "--runs", str(tmp_path / "runs")])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    (folder,) = (tmp_path / "runs").iterdir()
    whole = read_bench(folder)
    first, second = (run.phases[0].figures.itl_ms.median for run in whole.counted)
    assert first is not None
    assert second is not None
    # A server that is kept waiting may be slower still, and never faster.
    assert first >= 18
    assert second >= 58
    assert (folder / "bench.html").exists()
    assert command_line(["bench", "show", str(folder)]) == 0
    assert "load: " in capsys.readouterr().out
