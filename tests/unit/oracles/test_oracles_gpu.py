"""A GPU that fails, a leak of device memory and a GPU that is slowed are found, each with its own rule."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from history.reader import History, read_history
from history.records import GpuRecord
from history.verdict import Verdict
from oracles import judges_of
from oracles.findings import Rule
from oracles.gpu_health import LOST, MEMORY, ORACLE, PINNED, UNCORRECTED, XID, judge, slowed
from tests.support.stored import DATA, unpack
from tests.support.synthetic_records import gpu_sample

GIB = 1 << 30


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> History:
    return read_history(unpack(DATA / "green.tar.xz", tmp_path_factory.mktemp("green")))


def cards(history: History, index: int = 0) -> list[GpuRecord]:
    """A healthy card at the moments of the other resources, with errors from before the run."""
    return [gpu_sample(usage.t_ns, index, uncorrected_errors=3) for usage in history.resources]


def on_gpu(history: History, gpus: list[GpuRecord]) -> History:
    return replace(history, plan=history.plan.model_copy(update={"on_gpu": True}), gpus=gpus)


def test_healthy_card_passes(green: History) -> None:
    result = judge(on_gpu(green, cards(green)))
    assert (result.verdict, result.figures) == (Verdict.PASS, {"gpus": 1})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"xids": (79,)}, XID),
        ({"error": "GPU is lost"}, LOST),
        ({"uncorrected_errors": 4}, UNCORRECTED),
        ({"used_bytes": 41 * GIB}, MEMORY),
    ],
)
def test_fault_of_the_second_card_breaks_its_rule(
    green: History, change: dict[str, object], rule: Rule
) -> None:
    *earlier, last = cards(green, 1)
    broken = [*earlier, msgspec.structs.replace(last, **change)]
    result = judge(on_gpu(green, [*cards(green), *broken]))
    assert result.verdict is Verdict.FAIL
    assert [finding.rule for finding in result.findings] == [rule.id]
    assert "GPU 1" in result.findings[0].text


def test_host_memory_that_stays_pinned_is_a_leak_and_counts_once(green: History) -> None:
    both = []
    for index in range(2):
        *earlier, last = cards(green, index)
        both += [*earlier, msgspec.structs.replace(last, host_pinned_bytes=33 * GIB)]
    [finding] = judge(on_gpu(green, both)).findings
    assert (finding.rule, finding.figures["mib"]) == (PINNED.id, 1024)


def test_pinned_memory_that_is_given_back_passes(green: History) -> None:
    first, *others = cards(green)
    more = [msgspec.structs.replace(each, host_pinned_bytes=33 * GIB) for each in others[:-1]]
    assert judge(on_gpu(green, [first, *more, others[-1]])).verdict is Verdict.PASS


def test_kernel_that_does_not_report_pinned_memory_leaves_it_unknown(green: History) -> None:
    silent = [msgspec.structs.replace(card, host_pinned_bytes=None) for card in cards(green)]
    result = judge(on_gpu(green, silent))
    assert [gap.kind for gap in result.gaps] == ["gpu/pinned-not-sampled"]


def test_errors_from_before_the_run_are_not_of_the_run(green: History) -> None:
    assert judge(on_gpu(green, cards(green))).violations == 0


def test_run_on_a_gpu_without_samples_is_unknown(green: History) -> None:
    result = judge(on_gpu(green, []))
    assert result.verdict is Verdict.UNKNOWN
    assert [gap.kind for gap in result.gaps] == ["gpu/not-sampled"]


def test_oracle_judges_only_runs_on_a_gpu(green: History) -> None:
    assert ORACLE not in judges_of(green.plan)
    assert ORACLE in judges_of(on_gpu(green, []).plan)


def test_speed_of_a_gpu_that_is_too_hot_is_unknown_and_not_judged(green: History) -> None:
    hot = [msgspec.structs.replace(card, slowdowns=("thermal",)) for card in cards(green)]
    gap = slowed(on_gpu(green, hot))
    assert gap is not None
    assert gap.kind == "gpu/slowed"


def test_power_cap_is_how_many_cards_always_run(green: History) -> None:
    capped = [msgspec.structs.replace(card, slowdowns=("power-cap",)) for card in cards(green)]
    assert slowed(on_gpu(green, capped)) is None


def test_memory_after_a_quiet_moment_is_not_that_of_the_moment(green: History) -> None:
    *earlier, last = cards(green)
    later = msgspec.structs.replace(last, t_ns=last.t_ns + 1, used_bytes=60 * GIB)
    assert judge(on_gpu(green, [*earlier, last, later])).verdict is Verdict.PASS
