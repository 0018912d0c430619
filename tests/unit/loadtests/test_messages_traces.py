"""What is said of a trace, or of a use of it, that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.scenario import Param, WorkloadSpec
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import load_scenario
from loadtests.traces.trace_formats import FORMATS
from loadtests.workloads import build
from loadtests.workloads.trace import LONGEST_LINE, TraceFile, TraceSection
from tests.unit.loadtests.test_loadtests_traces import BURSTGPT, MOONCAKE, OWN, file, file_of, phase, scenario


def test_binary_or_missing_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b'{"at_s": "\xff"}\n')
    with pytest.raises(ValueError, match="trace:1: is not UTF-8 text"):
        TraceFile(tmp_path / "trace", FORMATS["own"], TraceSection())
    with pytest.raises(ValueError, match="other: cannot be read: No such file"):
        TraceFile(tmp_path / "other", FORMATS["own"], TraceSection())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"format": "moon"}, "no format 'moon'"),
        ({"scale": 0.001}, "a block of 512 tokens becomes one of 0.512"),
        ({"speed": 0.0}, "speed: Input should be greater than 0"),
        ({"length": 5}, "length: unknown key"),
    ],
)
def test_invalid_trace_parameters_are_refused(tmp_path: Path, params: dict[str, Param], message: str) -> None:
    given: dict[str, Param] = {"path": file_of(tmp_path, MOONCAKE), "format": "mooncake", **params}
    with pytest.raises(ValueError, match=message):
        build(WorkloadSpec(kind="trace", params=given), "w", 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"requests": 3}, r"phases\.load: w ends after 2 requests"),
        ({"first": 1}, r"phases\.load: w ends after 2 requests"),
        (
            {"workload": "u", "arrivals": {"kind": "trace"}},
            "arrivals of kind trace need a workload of kind trace",
        ),
    ],
)
def test_a_phase_that_a_trace_cannot_fill_is_refused(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        load_scenario(scenario(tmp_path, phase(**changes)))


@pytest.mark.timeout(10)
def test_device_file_as_trace_is_refused_without_endless_read() -> None:
    with pytest.raises(ValueError, match=r"/dev/zero: cannot be read: Is no regular file"):
        TraceFile(Path("/dev/zero"), FORMATS["own"], TraceSection())


@pytest.mark.parametrize("before", ["", MOONCAKE])
def test_endless_trace_line_is_refused_and_not_buffered(tmp_path: Path, before: str) -> None:
    with pytest.raises(ValueError, match=rf"trace:{before.count(chr(10)) + 1}: is longer than 1 MiB"):
        file(tmp_path, before + "x" * (2 * LONGEST_LINE), "mooncake")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("mooncake", MOONCAKE.replace("1500", "1e308")),
        ("mooncake", MOONCAKE.replace("1500", "9" * 30)),
        ("mooncake", MOONCAKE.replace("1500", "9" * 400)),
        ("burstgpt", BURSTGPT.replace("45.5", "1e300")),
        ("own", OWN.replace("0.5", "1e305")),
    ],
)
def test_unreachable_trace_time_is_one_line_with_its_number(tmp_path: Path, kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"trace:\d: a time more than 146 years from the origin$"):
        file(tmp_path, text, kind)


def test_tokens_above_the_record_limit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trace:2: a prompt of 9{30} tokens"):
        file(tmp_path, MOONCAKE.replace("1400", "9" * 30), "mooncake")


def test_a_trace_that_is_played_too_slowly_to_end_is_refused(tmp_path: Path) -> None:
    params: dict[str, Param] = {"path": file_of(tmp_path, OWN), "format": "own", "speed": 1e-300}
    with pytest.raises(
        ValueError, match=r"speed: at 1e-300 the trace takes more than a century; give a larger"
    ):
        build(WorkloadSpec(kind="trace", params=params), "w", seed=1)
