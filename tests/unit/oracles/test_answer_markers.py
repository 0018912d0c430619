"""An answer with the marker of another prompt is foreign content, and a model without recall shows none."""

from __future__ import annotations

from history.verdict import OracleResult, Verdict
from oracles.answers import FOREIGN, judge
from tests.support.histories import Run, clean_run

OWN, OTHER = (11, 12, 13, 14), (31, 32, 33, 34)
UNLIKELY = [-9.0, -9.0, -9.0, -9.0]


def marked_run() -> tuple[Run, int]:
    """A run in which each answer is the marker of its prompt, and one of its requests."""
    run = clean_run()
    one = run.first_of("chaos")
    prompt = run.requests[one].prompt_id
    for index, record in enumerate(run.requests):
        is_one = record.prompt_id == prompt
        tokens = OWN if is_one else OTHER
        run.change_request(index, marker=tokens, token_ids=[*tokens])
    return run, one


def foreign(result: OracleResult) -> list[str | None]:
    return [finding.request for finding in result.findings if finding.rule == FOREIGN.id]


def test_answers_with_their_own_markers_pass() -> None:
    run, _ = marked_run()
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures["own_marker"] == result.figures["marked"] > 0


def test_answer_with_the_marker_of_another_prompt_is_foreign() -> None:
    run, one = marked_run()
    run.change_request(one, token_ids=[*OTHER], logprobs=UNLIKELY)
    result = judge(run.history())
    assert foreign(result) == [run.requests[one].id]


def test_answer_with_another_marker_of_its_own_prefix_is_not_foreign() -> None:
    run, one = marked_run()
    other = next(each for each in run.requests if each.marker == OTHER and each.phase == "golden")
    run.change_request(one, token_ids=[*OTHER], logprobs=UNLIKELY, first_block=other.first_block)
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert foreign(result) == []


def test_golden_answer_with_the_marker_of_another_prompt_is_foreign() -> None:
    """All answers to the prompt are equal, so a comparison with the golden one finds nothing."""
    run, one = marked_run()
    prompt = run.requests[one].prompt_id
    wrong = [index for index, record in enumerate(run.requests) if record.prompt_id == prompt]
    for index in wrong:
        run.change_request(index, token_ids=[*OTHER])
    assert set(foreign(judge(run.history()))) == {run.requests[index].id for index in wrong}


def test_answer_without_any_marker_is_not_foreign() -> None:
    run, one = marked_run()
    run.change_request(one, token_ids=[1, 2, 3, 4])
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert foreign(result) == []


def test_model_that_recalls_no_marker_finds_no_foreign_content() -> None:
    run, _ = marked_run()
    for index in range(len(run.requests)):
        run.change_request(index, token_ids=[1, 2, 3, 4])
    result = judge(run.history())
    assert (result.verdict, result.figures["own_marker"]) == (Verdict.PASS, 0)


def test_run_without_markers_has_no_figure_of_them() -> None:
    assert "marked" not in judge(clean_run().history()).figures
