"""What is said of parameters of a workload that cannot be."""

from __future__ import annotations

import pytest

from history.scenario import Param
from tests.unit.loadtests.test_loadtests_workload_kinds import make


@pytest.mark.parametrize(
    ("kind", "params", "problem"),
    [
        ("chat", {"min_think_s": 2.0, "max_think_s": 1.0}, "min_think_s is larger"),
        ("chat", {"min_user_tokens": 90}, "min_user_tokens is larger"),
        ("agent_loop", {"min_tool_s": 2.0}, "min_tool_s is larger"),
        ("long_document", {"min_document_tokens": 900}, "min_document_tokens is larger"),
        ("mixed_sizes", {"min_small_tokens": 900}, "the least length of a size"),
        ("shared_prefix", {"min_prefix_tokens": 900}, "min_prefix_tokens is larger"),
        ("shared_prefix", {"cold_share": 1.5}, "cold_share: Input should be less"),
        ("abort_mix", {"answer_share": 0.9}, "more than 1 together"),
        ("abort_mix", {"queued_ms": 900.0}, "queued_ms is larger"),
        ("parameter_mix", {"max_n": 1}, "max_n: Input should be greater"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(
    kind: str, params: dict[str, Param], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        make(kind, **params)
