"""Markers show foreign content in the answers of a model that recalls its context, without golden answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.records import RequestRecord
from oracles.answer_markers import MARKER_START, marked_answers
from oracles.answers import FOREIGN
from tests.server.bench import NEW, Bench
from tests.support.induction_model import write_induction_model

pytestmark = pytest.mark.server

SCENARIO = Path(__file__).with_name("foreign-content.yaml")


def test_foreign_content_gives_the_marker_of_another_prompt(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_induction_model(model := tmp_path / "model")
    monkeypatch.setenv("KVCHAOS_TINY_MODEL", str(model))
    run = bench.run_scenario(SCENARIO, NEW).run()
    requests = {record.id: record for record in run.history.requests}
    golden = [record for record in requests.values() if record.phase == "golden"]
    assert [record.id for record in golden if _answer(record) != record.marker] == []
    foreign = marked_answers(run.history).foreign
    findings = {each.request for each in run.result_of("answers").findings if each.rule == FOREIGN.id}
    assert findings & foreign.keys()
    blocks = {record.marker[:MARKER_START]: record.first_block for record in golden}
    for request in foreign:
        assert blocks[_answer(requests[request])[:MARKER_START]] != requests[request].first_block
    assert run.verdict.outcome == "as expected", run.verdict.reasons


def _answer(record: RequestRecord) -> tuple[int, ...]:
    return tuple(int(token) for token in record.token_ids[: len(record.marker)])
