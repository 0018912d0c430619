"""offload-used must not believe in offloading that did not happen."""

from __future__ import annotations

import pytest

from history.plan import ServerSettings
from history.verdict import Verdict
from oracles.offload import judge
from tests.unit.found import gap_of
from tests.unit.histories import clean_run
from tests.unit.synthetic import EXTERNAL_HITS, LOAD_BYTES, OLD_LOAD_BYTES, PREEMPTIONS, make_plan

OFF = ServerSettings(gpu_blocks=40, offload=False)


@pytest.mark.parametrize(
    ("vllm", "key"),
    [
        ("0.18.0", OLD_LOAD_BYTES),
        ("0.18.0", EXTERNAL_HITS),
        ("0.32.0", LOAD_BYTES),
        ("0.32.0", EXTERNAL_HITS),
    ],
)
def test_a_tier_that_was_never_read_is_unknown_under_each_releases_names(vllm: str, key: str) -> None:
    run = clean_run(make_plan(vllm=vllm))
    assert judge(run.history()).verdict is Verdict.PASS
    for scrape in run.scrapes:
        scrape.values[key] = 0.0
    gap_of(judge(run.history()), "offload-used/no-hits" if key == EXTERNAL_HITS else "offload-used/no-bytes")


@pytest.mark.parametrize("key", [LOAD_BYTES, EXTERNAL_HITS])
def test_an_absent_metric_is_unknown(key: str) -> None:
    run = clean_run()
    run.drop_metric(key)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_preemptions_are_told() -> None:
    run = clean_run()
    run.bump(PREEMPTIONS, 115.0, since=6)
    assert judge(run.history()).figures["preemptions"] == 115


def test_offload_off_and_no_hit_passes() -> None:
    run = clean_run(make_plan(server=OFF))
    for scrape in run.scrapes:
        scrape.values[EXTERNAL_HITS] = 0.0
    assert judge(run.history()).verdict is Verdict.PASS


def test_offload_off_and_yet_a_hit_fails() -> None:
    assert judge(clean_run(make_plan(server=OFF)).history()).verdict is Verdict.FAIL


def test_offload_off_without_the_metric_is_unknown() -> None:
    run = clean_run(make_plan(server=OFF))
    run.drop_metric(EXTERNAL_HITS)
    assert judge(run.history()).verdict is Verdict.UNKNOWN
