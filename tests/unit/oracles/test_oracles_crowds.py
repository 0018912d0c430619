"""A crowd that leaves is believed by the server's journal, and the books have to bear it."""

from __future__ import annotations

import pytest
from msgspec import structs

from history.records import CROWD, RequestError, RequestRecord
from history.verdict import Figures, Verdict
from oracles import accounting, answers, blast, drained, outcomes, progress
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_kinds, phases_of
from tests.support.outside_fault_phase import Struck, answered, at, failed
from tests.support.synthetic_records import (
    COMPUTED_SOURCE,
    EXTERNAL_QUERIES,
    GENERATED,
    LOCAL_QUERIES,
    MS,
    PROMPT,
    PROMPT_TOKENS,
    TTFT_ALL,
    TTFT_COUNT,
    TTFT_SMALL,
    fault,
    good_request,
    make_plan,
)

ABORTED = 'vllm:request_success_total{finished_reason="abort"}'
NAMES = ["crowd-f1-3-0", "crowd-f1-3-1", "crowd-f1-3-2"]


def left(name: str, tokens: int = 0, start_ns: int = at(2000)) -> RequestRecord:
    """A client of a crowd that went away with so many tokens."""
    record = good_request(name, name, CROWD, start_ns)
    error = RequestError(kind="Abandoned", status=200, message=f"left on purpose after {tokens} tokens")
    return structs.replace(
        record,
        outcome="aborted",
        error=error,
        usage=None,
        finish_reason=None,
        first_us=20_000 if tokens else None,
        chunk_us=[20_000] if tokens else [],
        chunk_tokens=[tokens] if tokens else [],
        token_ids=list(range(tokens)),
        logprobs=[-0.5] * tokens,
    )


def storm(*requests: RequestRecord) -> Struck:
    struck = Struck("abort_storm", [answered("chaos-1", 500, 900), *requests])
    struck.strike(2000, clients=3, sent=3, begun=1, answered=0, requests=list(NAMES))
    struck.undo(2500, clients=3)
    return struck


def test_crowd_is_effective_by_a_server_abort() -> None:
    struck = storm(*(left(name) for name in NAMES))
    struck.give_up(NAMES[1])
    assert struck.doubt() is None


def test_server_abort_outside_the_crowd_is_no_evidence() -> None:
    struck = storm(*(left(name) for name in NAMES))
    struck.give_up("chaos-1")
    struck.give_up("crowd-f1-9-1")
    assert struck.doubt() == "not-given-up"


def test_crowd_answered_before_its_abort_is_not_effective() -> None:
    struck = storm(*(structs.replace(answered(name, 2000, 2100), phase=CROWD) for name in NAMES))
    assert struck.doubt() == "answered-before-leaving"


def test_crowd_without_records_is_not_effective() -> None:
    struck = storm()
    struck.give_up(*NAMES)
    assert struck.doubt() == "no-record"


def test_every_crowd_has_to_be_effective() -> None:
    struck = storm(*(left(name) for name in NAMES), left("crowd-f1-5-0", start_ns=at(4000)))
    struck.give_up(NAMES[0])
    struck.strike(4000, n=5, requests=["crowd-f1-5-0"])
    assert struck.doubt() == "not-given-up"


def with_a_crowd(counted: dict[str, float] | None = None) -> Run:
    """A run in which three clients of a crowd disconnect in the chaos phase, one of them after two tokens.

    The server counts them so, unless `counted` says otherwise.
    """

    def come(run: Run) -> None:
        start_ns = run.now_ns
        sums = {
            PROMPT: PROMPT_TOKENS,
            COMPUTED_SOURCE: PROMPT_TOKENS,
            GENERATED: 2.0,
            TTFT_SMALL: 1.0,
            TTFT_ALL: 1.0,
            TTFT_COUNT: 1.0,
            LOCAL_QUERIES: 3.0 * PROMPT_TOKENS,
            EXTERNAL_QUERIES: 3.0 * PROMPT_TOKENS,
            ABORTED: 1.0,
            **(counted or {}),
        }
        run.server.setdefault(ABORTED, 0.0)
        for key, by in sums.items():
            run.server[key] += by
        run.requests += [left(NAMES[0], 2, start_ns), *(left(name, 0, start_ns) for name in NAMES[1:])]
        run.serve("chaos", "prompt-2")

    run = clean_run(make_plan(faults=(fault("abort_storm"),)), come)
    run.fire("f1", "abort_storm", requests=list(NAMES))
    run.faults[-1] = structs.replace(run.faults[-1], role="outside")
    return run


def test_accounting_includes_crowd_requests() -> None:
    run = with_a_crowd()
    for oracle in (accounting, answers, blast, drained, outcomes, progress):
        assert oracle.judge(run.history()).verdict is Verdict.PASS
    assert outcomes.judge(run.history()).figures["aborted"] == 3


@pytest.mark.parametrize(
    ("counted", "rule", "figures"),
    [
        ({GENERATED: 1.0}, "generated-tokens", {"client": 18, "server": 17}),
        ({PROMPT: 0.0, COMPUTED_SOURCE: 0.0}, "prompt-tokens", {"client": 320, "server": 256}),
        ({ABORTED: 0.0}, "abandoned-requests", {"client": 5, "server": 4}),
        ({TTFT_COUNT: 0.0, TTFT_ALL: 0.0, TTFT_SMALL: 0.0}, "first-tokens", {"client": 5, "server": 4}),
        ({TTFT_COUNT: 4.0, TTFT_ALL: 4.0, TTFT_SMALL: 4.0}, "first-tokens", {"client": 5, "server": 8}),
        (
            {EXTERNAL_QUERIES: 3.0 * PROMPT_TOKENS + 100.0},
            "lookups-exceed-prompts",
            {"looked_up": 484, "prompt": 448},
        ),
    ],
    ids=["tokens", "prompts", "ends", "too few first tokens", "too many", "lookups"],
)
def test_uncounted_crowd_tokens_fail_accounting(
    counted: dict[str, float], rule: str, figures: Figures
) -> None:
    result = accounting.judge(with_a_crowd(counted).history())
    assert finding_of(result, f"accounting/{rule}", "chaos").figures == figures


def test_server_work_for_unrecorded_crowd_requests_fails_accounting() -> None:
    run = with_a_crowd()
    run.requests = [record for record in run.requests if record.phase != CROWD]
    assert accounting.judge(run.history()).verdict is Verdict.FAIL


def test_a_crowd_is_no_excuse_for_the_phases_before_it() -> None:
    run = with_a_crowd()
    run.bump(GENERATED, 1.0, since=run.scrape_in("golden") + 2)
    result = accounting.judge(run.history())
    assert "golden" in phases_of(result)


def test_a_request_of_a_crowd_that_the_server_fails_is_a_violation() -> None:
    run = with_a_crowd()
    index = run.first_of(CROWD)
    run.change_request(index, outcome="error", error=failed("x", 0, 1, "NoCompletion", status=500).error)
    result = outcomes.judge(run.history())
    assert (result.verdict, result.violations) == (Verdict.FAIL, 1)


def test_bystander_harm_of_an_inside_fault_is_judged_beside_a_crowd() -> None:
    run = with_a_crowd()
    run.fire("f1", "bit_flip", bytes_changed=1)
    run.faults[-1] = structs.replace(
        run.faults[-1], request=f"cmpl-{run.requests[run.first_of('chaos')].id}-0"
    )
    assert "blast-radius/blocks-unknown" not in gap_kinds(blast.judge(run.history()))


def test_drain_waits_for_the_end_of_the_crowd() -> None:
    run = with_a_crowd()
    late = run.scrapes[-1].t_ns + 10 * MS
    run.change_request(run.first_of(CROWD), start_ns=late)
    assert drained.judge(run.history()).verdict is Verdict.UNKNOWN
