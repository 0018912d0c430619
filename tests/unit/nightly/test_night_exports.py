"""Exports of the history: OpenMetrics by its own parser, and records of PyTorch's benchmark database."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kvchaos.nightly.night_report import night_report
from kvchaos.nightly.night_store import NightHistory
from kvchaos.nightly.openmetrics_export import night_families
from kvchaos.nightly.pytorch_export import pytorch_records
from kvchaos.openmetrics_text import exposition
from tests.support.night_points import SERIES, history_of, point
from tests.support.synthetic_nights import NEW, synthetic_year

families_of: Callable[[str], Iterable[Metric]] = text_string_to_metric_families
KEYS: dict[str, type | dict[str, type]] = {
    "timestamp": int,
    "schema_version": str,
    "name": str,
    "repo": str,
    "head_sha": str,
    "benchmark": {"name": str, "mode": str, "dtype": str, "extra_info": dict},
    "model": {"name": str, "type": str, "backend": str, "origins": list, "extra_info": dict},
    "metric": {"name": str, "benchmark_values": list, "target_value": float, "extra_info": dict},
}
"""Keys and types of the schema."""


@pytest.fixture(scope="module")
def nights() -> NightHistory:
    return synthetic_year(30)


def test_openmetrics_parser_accepts_the_history(nights: NightHistory) -> None:
    families = {family.name: family for family in families_of(exposition(night_families(nights)))}
    assert {name for name in families if not name.startswith("kvchaos_night_")} == set()
    results = families["kvchaos_night_result"].samples
    assert len(results) == 4 * 40 * 30
    assert sum(sample.value for sample in results) == 40 * 30
    assert len(families["kvchaos_night_figure"].samples) == 2 * 180 * 30
    assert len(families["kvchaos_night_slowdown_ratio"].samples) == 180 * 30
    changes = families["kvchaos_night_change"].samples
    assert {sample.labels["event"] for sample in changes} >= {"opened", "confirmed", "accepted"}


def test_samples_of_a_series_are_in_order_of_time(nights: NightHistory) -> None:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for family in families_of(exposition(night_families(nights))):
        for sample in family.samples:
            key = (sample.name, json.dumps(sample.labels, sort_keys=True))
            times[key].append(float(str(sample.timestamp)))
    assert all(found == sorted(set(found)) for found in times.values())


def test_exported_values_are_those_of_the_night() -> None:
    history = history_of([point(1), point(2, "regressed", 0.08)])
    samples = {
        (family.name, sample.labels.get("side", ""), sample.labels.get("result", "")): sample
        for family in families_of(exposition(night_families(history)))
        for sample in family.samples
    }
    assert samples["kvchaos_night_slowdown_ratio", "", ""].value == pytest.approx(math.expm1(0.08))
    assert samples["kvchaos_night_figure", "candidate", ""].value == pytest.approx(108)
    assert samples["kvchaos_night_result", "", "regressed"].value == 1
    labels = samples["kvchaos_night_slowdown_ratio", "", ""].labels
    assert labels == {
        "series": SERIES,
        "scenario": "chat-return",
        "load": "load",
        "figure": "ttft-median",
        "role": "watch",
        "control": "0.32.0",
    }


def test_watched_series_has_the_report_of_the_last_run_of_the_candidate(nights: NightHistory) -> None:
    text = exposition(night_families(nights, "http://127.0.0.1:9000/runs/"))
    families = {family.name: family for family in families_of(text)}
    samples = families["kvchaos_night_report_time_seconds"].samples
    watched = {series for series, points in nights.by_series.items() if points[0].role == "watch"}
    assert {sample.labels["series"] for sample in samples} == watched
    assert len(samples) == len(watched) * len(nights.nights)
    assert all(sample.value == float(str(sample.timestamp)) for sample in samples)
    folder = "http://127.0.0.1:9000/runs/chat-return-night-{}/chat-return-6-candidate/report.html"
    reports = [sample.labels["report"] for sample in samples if sample.labels["series"] == NEW]
    assert sorted(reports) == sorted(folder.format(number) for number in range(len(nights.nights)))


def test_night_without_pairs_has_no_report() -> None:
    history = history_of([point(1)])
    measured = [msgspec.structs.replace(each, pairs=[]) for each in history.nights[0].measured]
    nights = [msgspec.structs.replace(history.nights[0], measured=measured)]
    text = exposition(night_families(NightHistory(nights, history.by_series, history.by_night)))
    assert "report=" not in text


def test_label_with_quotes_and_line_ends_is_escaped() -> None:
    history = history_of([point(1)])
    odd = 'a "b" \\ c\nd'
    nights = [msgspec.structs.replace(history.nights[0], model=odd)]
    text = exposition(night_families(NightHistory(nights, history.by_series, history.by_night)))
    families = {family.name: family for family in families_of(text)}
    assert families["kvchaos_night_info"].samples[0].labels["model"] == odd


def test_pytorch_records_have_the_keys_of_the_schema(nights: NightHistory) -> None:
    records = [json.loads(line) for line in pytorch_records(night_report(nights)).splitlines()]
    assert len(records) == 180
    for record in records:
        for key, wanted in KEYS.items():
            if isinstance(wanted, dict):
                assert record[key].keys() == wanted.keys()
                assert all(isinstance(record[key][name], kind) for name, kind in wanted.items())
            else:
                assert isinstance(record[key], wanted)
        extras = [record[key]["extra_info"] for key in ("benchmark", "model", "metric")]
        assert all(isinstance(value, str) for extra in extras for value in extra.values())


def test_pytorch_record_has_candidate_and_control() -> None:
    history = history_of([point(1), point(2, "regressed", 0.08)])
    (record,) = (json.loads(line) for line in pytorch_records(night_report(history)).splitlines())
    assert record["metric"]["name"] == "ttft-median"
    assert record["metric"]["benchmark_values"] == [pytest.approx(108)]
    assert record["metric"]["target_value"] == 100.0
    assert record["head_sha"] == f"{2:040x}"
    assert record["dependencies"]["vllm"]["version"] == "0.33.0.dev2"


def test_control_night_has_no_pytorch_records() -> None:
    assert pytorch_records(night_report(history_of([point(1)], kinds={1: "control"}))) == b""
