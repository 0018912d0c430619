"""A damaged run directory gives one line or a verdict, never a traceback.

No oracle passes without its data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history import layout
from history.reader import UnreadableRun
from history.verdict import OracleResult, RunVerdict, Verdict, phase
from kvchaos.cli.app import run as command_line
from kvchaos.judging.judge_run import judge_run_dir
from tests.support.fake_server_runs import verdict_of
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import MS, SECOND, START_NS, fault, make_plan

REQUESTS = layout.requests_file(0)
FAULTS = f"{layout.CONTROL}/faults-worker-100.jsonl"
LEDGER = f"{layout.CONTROL}/ledger-worker-100.jsonl"
LINES = (
    layout.EVENTS,
    layout.METRICS,
    layout.PROMETHEUS,
    REQUESTS,
    layout.CLIENT,
    layout.RESOURCES,
    FAULTS,
    LEDGER,
)
FILES = (layout.PLAN, *LINES, layout.SERVER_LOG)
NEEDED = {
    layout.METRICS: {"counters", "accounting", "drained", "offload-used", "progress", "metrics-crosscheck"},
    layout.PROMETHEUS: {"metrics-crosscheck"},
    REQUESTS: {"outcomes", "answers", "accounting", "progress"},
    layout.CLIENT: {"client"},
    layout.RESOURCES: {"resources"},
    layout.SERVER_LOG: {"logs"},
    FAULTS: {"faults-fired"},
    LEDGER: {"transfer-invariants"},
}
"""The oracles that have nothing to judge by once a file is gone."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which everything is right and a planned fault struck."""
    run = clean_run(make_plan(faults=(fault("copy_delay"),)))
    run.fire("f1", "copy_delay", ms=0.001, direction="load")
    run.watch()
    folder = tmp_path_factory.mktemp("whole") / "run"
    write_run(run, folder)
    assert judge_run_dir(folder).outcome == "as expected"
    for name in (layout.VERDICT, layout.JUNIT, layout.SUMMARY, layout.REPORT):
        (folder / name).unlink()
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return fresh(whole, tmp_path)


def fresh(whole: Path, parent: Path) -> Path:
    shutil.rmtree(parent / "run", ignore_errors=True)
    return shutil.copytree(whole, parent / "run")


def judged(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> RunVerdict | None:
    """The verdict by command line and by function, which must agree; None where there is only a complaint."""
    capsys.readouterr()
    code = command_line(["judge", str(run_dir)])
    shown = capsys.readouterr()
    if code == 3:
        assert shown.out == ""
        (complaint,) = shown.err.splitlines()
        assert complaint.startswith(f"kvchaos: {run_dir}/")
        assert len(complaint) < 2000
        with pytest.raises(UnreadableRun):
            judge_run_dir(run_dir)
        return None
    assert shown.err == ""
    verdict = verdict_of(run_dir)
    assert code == {"as expected": 0, "not as expected": 1, "unknown": 2}[verdict.outcome]
    assert judge_run_dir(run_dir) == verdict
    ET.parse(run_dir / layout.JUNIT)
    return verdict


def passed(verdict: RunVerdict) -> set[str]:
    return {result.oracle for result in verdict.results if result.verdict is Verdict.PASS}


def result_of(verdict: RunVerdict | None, oracle: str) -> OracleResult:
    assert verdict is not None
    return next(result for result in verdict.results if result.oracle == oracle)


# Whole files.


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def leave_half_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("damage", [remove, empty, leave_half_a_line])
@pytest.mark.parametrize("name", NEEDED)
def test_no_oracle_passes_without_its_file(
    copy: Path, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy / name)
    verdict = judged(copy, capsys)
    assert verdict is not None
    assert passed(verdict) & NEEDED[name] == set()
    assert verdict.outcome != "as expected"


@pytest.mark.parametrize("damage", [remove, empty, leave_half_a_line])
@pytest.mark.parametrize("name", [layout.PLAN, layout.EVENTS])
def test_a_run_without_plan_or_events_is_no_run(
    copy: Path, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy / name)
    assert judged(copy, capsys) is None


@pytest.mark.parametrize(
    ("name", "oracles"),
    [
        (layout.METRICS, {"counters", "progress", "accounting", "drained"}),
        (REQUESTS, {"outcomes", "accounting"}),
        (layout.CLIENT, {"client"}),
        (layout.SERVER_LOG, {"logs"}),
        (layout.EVENTS, {"server-alive", "drained", "transfer-invariants"}),
    ],
)
def test_no_oracle_passes_on_the_first_half_of_its_file(
    copy: Path, name: str, oracles: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (copy / name).read_bytes().splitlines(keepends=True)
    (copy / name).write_bytes(b"".join(lines[: len(lines) // 2]))
    verdict = judged(copy, capsys)
    assert verdict is not None
    assert passed(verdict) & oracles == set()
    assert verdict.outcome != "as expected"


# Lines twice, lost, or out of order.


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("index", [0, 5, -1])
def test_a_request_recorded_twice_is_a_violation(
    copy: Path, index: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(copy / REQUESTS)
    (copy / REQUESTS).write_bytes(b"".join([*lines, lines[index]]))
    assert result_of(judged(copy, capsys), "outcomes").verdict is Verdict.FAIL


@pytest.mark.parametrize("index", [1, 5, -2])
def test_a_request_that_is_not_recorded_is_a_violation(
    copy: Path, index: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(copy / REQUESTS)
    del lines[index]
    (copy / REQUESTS).write_bytes(b"".join(lines))
    assert result_of(judged(copy, capsys), "outcomes").verdict is Verdict.FAIL


def test_verdict_does_not_depend_on_request_order_in_the_file(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = judged(copy, capsys)
    (copy / REQUESTS).write_bytes(b"".join(reversed(lines_of(copy / REQUESTS))))
    assert judged(copy, capsys) == before


def test_phase_without_its_end_event_is_unknown(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(copy / layout.EVENTS)
    ends = [index for index, line in enumerate(lines) if b"phase_end" in line]
    del lines[ends[1]]
    (copy / layout.EVENTS).write_bytes(b"".join(lines))
    result = result_of(judged(copy, capsys), "outcomes")
    assert result.verdict is Verdict.UNKNOWN
    assert phase("chaos") in [gap.subject for gap in result.gaps]


@pytest.mark.parametrize("index", range(8))
def test_scrapes_out_of_order_or_twice_are_refused_with_their_line(
    copy: Path, index: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is the difference to the one before: in another order they mean something else."""
    lines = lines_of(copy / layout.METRICS)
    lines[index], lines[index + 1] = lines[index + 1], lines[index]
    (copy / layout.METRICS).write_bytes(b"".join(lines))
    command_line(["judge", str(copy)])
    assert f"{layout.METRICS}: line {index + (1 if index == 0 else 2)}: " in capsys.readouterr().err


def test_a_series_that_is_introduced_twice_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(copy / layout.METRICS)
    (copy / layout.METRICS).write_bytes(b"".join([lines[0], *lines]))
    command_line(["judge", str(copy)])
    assert f"{layout.METRICS}: line 2: " in capsys.readouterr().err


def test_gap_of_years_gives_a_verdict_without_memory_growth(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in lines_of(copy / layout.CLIENT)]
    lines[0]["event_loop_lag_us"][0] = 10**15
    (copy / layout.CLIENT).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert result_of(judged(copy, capsys), "client").verdict is Verdict.UNKNOWN


# Clocks that step.


@pytest.mark.parametrize("name", [name for name in LINES if name not in (layout.METRICS, layout.PROMETHEUS)])
@pytest.mark.parametrize("step_ns", [-3600 * SECOND, -50 * MS, 50 * MS, 3600 * SECOND])
def test_clock_step_still_gives_a_verdict(
    copy: Path, name: str, step_ns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in lines_of(copy / name)]
    for line in lines[len(lines) // 2 :]:
        for key in ("t_ns", "start_ns", "scheduled_ns"):
            if key in line:
                line[key] += step_ns
    (copy / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert judged(copy, capsys) is not None


def test_a_clock_that_steps_back_between_scrapes_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scraper never writes one, so such a file is not the scraper's."""
    lines = lines_of(copy / layout.METRICS)
    lines[4] = lines[4].replace(b'"t_ns":18', b'"t_ns":17', 1)
    (copy / layout.METRICS).write_bytes(b"".join(lines))
    command_line(["judge", str(copy)])
    assert f"{layout.METRICS}: line 5: " in capsys.readouterr().err


# Anything at all.

ODD_INTS = (
    *(0, 1, -1, 2, 10**6, -(10**6), 10**12, 10**15, 10**19, 10**40, -(10**40), 10**400),
    *(2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, START_NS, -START_NS),
)
ODD_FLOATS = (0.0, -0.0, -0.5, 1e-320, 1e15, 1e308, -1e308, float("nan"), float("inf"), -float("inf"))
ODD_TEXTS = ("", "x", "NaN", "+Inf", "final", "golden", "ok", "\x00", "\ud800", "\u2028", "a\nb", "a" * 300)
ODD_VALUES: tuple[object, ...] = (
    *(None, True, False, [], [0], [None], ["x"], {}, {"a": 1}),
    *(*ODD_INTS, *ODD_FLOATS, *ODD_TEXTS),
)
BYTES = st.sampled_from([b"\xff", b"\0", b"\n", b"{", b'"', b"9", b"-", b"e9", b"\xe2\x80\xa8", b"\r", b"\\"])


@dataclass(frozen=True)
class Damage:
    """One change of one file: where it is (as a share of what there is), of what sort, and with what."""

    name: str
    sort: str
    where: float
    within: float
    odd: int
    """Which of the odd values."""
    raw: bytes

    def apply(self, run_dir: Path) -> None:
        path = run_dir / self.name
        if self.sort in ("cut", "flip", "insert", "delete"):
            path.write_bytes(self._bytes(path.read_bytes()))
        elif self.name == layout.PLAN:
            with suppress(yaml.YAMLError):  # One that is damaged already stays as it is.
                plan = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
                self._change(plan)
                path.write_text(yaml.safe_dump(plan), encoding="utf-8", errors="replace")
        else:
            path.write_bytes(b"".join(self._lines(lines_of(path))))

    def _bytes(self, content: bytes) -> bytes:
        at = int(self.where * len(content))
        if self.sort == "cut":
            return content[:at]
        if self.sort == "insert":
            return content[:at] + self.raw + content[at:]
        if self.sort == "delete":
            return content[:at] + content[at + 1 + int(self.within * 40) :]
        flipped = bytes([content[at] ^ 1 << int(self.within * 8)]) if at < len(content) else b""
        return content[:at] + flipped + content[at + 1 :]

    def _lines(self, lines: list[bytes]) -> list[bytes]:
        if not lines:
            return lines
        at, other = int(self.where * len(lines)), int(self.within * len(lines))
        if self.sort == "drop":
            return lines[:at] + lines[at + 1 :]
        if self.sort == "twice":
            return [*lines[:other], lines[at], *lines[other:]]
        if self.sort == "swap":
            lines[at], lines[other] = lines[other], lines[at]
            return lines
        try:
            line = json.loads(lines[at])
        except ValueError:  # The server's log, or a line that is damaged already.
            return lines
        self._change(line)
        return [*lines[:at], json.dumps(line).encode() + b"\n", *lines[at + 1 :]]

    def _change(self, whole: object) -> None:
        """Put the odd value in the place of one that is there, or beside it under a new name."""
        slots: list[tuple[dict[str, object] | list[object], str | int]] = []
        collect(whole, slots)
        if not slots:
            return
        holder, key = slots[int(self.where * 7919 + self.within * len(slots)) % len(slots)]
        if self.sort == "add" and isinstance(holder, dict):
            holder["odd"] = self._value(None)
        elif isinstance(holder, dict):
            holder[str(key)] = self._value(holder[str(key)])
        else:
            holder[int(key)] = self._value(holder[int(key)])

    def _value(self, old: object) -> object:
        """An odd value, of the old one's type unless another is wanted."""
        odd: tuple[object, ...] = ODD_VALUES
        if self.sort == "alter":
            odd = {int: ODD_INTS, float: ODD_FLOATS, str: ODD_TEXTS}.get(type(old), ODD_VALUES)
        return odd[self.odd % len(odd)]


def collect(value: object, slots: list[tuple[dict[str, object] | list[object], str | int]]) -> None:
    """Every place in a tree of JSON that holds something."""
    if isinstance(value, dict):
        for key in value:
            slots.append((value, key))
            collect(value[key], slots)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            slots.append((value, index))
            collect(item, slots)


SHARES = st.floats(0, 1, exclude_max=True)
SORTS = ("cut", "flip", "insert", "delete", "drop", "twice", "swap", "add", "change", *["alter"] * 8)
DAMAGES = st.builds(
    Damage,
    st.sampled_from(FILES),
    st.sampled_from(SORTS),
    SHARES,
    SHARES,
    st.integers(0, len(ODD_VALUES) - 1),
    BYTES,
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damages=st.lists(DAMAGES, min_size=1, max_size=3))
def test_any_damage_gives_a_verdict_or_one_line(
    whole: Path, tmp_path: Path, damages: list[Damage], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = fresh(whole, tmp_path)
    for damage in damages:
        damage.apply(run_dir)
    judged(run_dir, capsys)
