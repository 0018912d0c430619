"""A strike that names the wrong request blames the wrong answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chaos.inside.process_globals import context, request_scope, tracking_current_request
from chaos.inside.request_states import RequestsOfJobs


def numbered(loads: dict[int, str], stores: dict[int, str]) -> Any:
    """The metadata of a step, as from 0.21 on."""
    return SimpleNamespace(
        load_jobs={job: SimpleNamespace(req_id=request) for job, request in loads.items()},
        store_jobs={job: SimpleNamespace(req_id=request) for job, request in stores.items()},
    )


def test_a_numbered_job_is_that_of_the_request_that_planned_it() -> None:
    requests = RequestsOfJobs()
    requests.learn(numbered({4: "a"}, {5: "b", 6: "a"}))
    assert [requests.take(job) for job in (6, 5, 4)] == ["a", "b", "a"]


def test_store_deferred_by_a_step_keeps_its_request() -> None:
    requests = RequestsOfJobs()
    requests.learn(numbered({}, {5: "b"}))
    requests.learn(numbered({6: "c"}, {}))
    assert requests.take(5) == "b"


def test_unplanned_job_has_no_request() -> None:
    requests = RequestsOfJobs()
    requests.learn(numbered({4: "a"}, {}))
    assert requests.take(9, ("device", "chunks")) is None


def test_before_0_21_a_job_is_matched_by_spec_identity() -> None:
    requests = RequestsOfJobs()
    # Equal, and yet two copies.
    one, other = ([1], [2]), ([1], [2])
    requests.learn(SimpleNamespace(reqs_to_load={"a": one}, reqs_to_store={"b": other}))
    assert requests.take(0, other) == "b"
    assert requests.take(1, one) == "a"
    assert requests.take(2, ([1], [2])) is None


def test_started_jobs_are_forgotten() -> None:
    requests = RequestsOfJobs()
    spec = ([1], [2])
    requests.learn(SimpleNamespace(reqs_to_load={"a": spec}, reqs_to_store={}))
    requests.learn(numbered({4: "b"}, {}))
    assert (requests.take(7, spec), requests.take(4)) == ("a", "b")
    assert (requests.take(7, spec), requests.take(4)) == (None, None)


def test_preempted_requests_instead_of_metadata_plan_no_job() -> None:
    requests = RequestsOfJobs()
    requests.learn({"a", "b"})
    assert requests.take(0) is None


def test_current_request_is_the_one_whose_tokens_are_read() -> None:
    step = SimpleNamespace(num_scheduled_tokens={"a": 3, "b": 5}, finished_req_ids={"z"})
    tracked = tracking_current_request(step)
    current = []
    with request_scope(None):
        for request in ("b", "a"):
            assert tracked.num_scheduled_tokens[request] == step.num_scheduled_tokens[request]
            current.append(context.request)
    assert current == ["b", "a"]
    assert context.request is None
    assert tracked.finished_req_ids is step.finished_req_ids
    assert type(step.num_scheduled_tokens) is dict, "vLLM's own output was changed"


def test_current_request_is_reset_when_the_scheduler_raises() -> None:
    with pytest.raises(ZeroDivisionError), request_scope("a"):
        raise ZeroDivisionError
    assert context.request is None
