"""A strike that names the wrong request blames the wrong answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chaos.inside.current_request import request_scope, tracking_current_request
from chaos.inside.process_globals import context
from chaos.inside.requests_of_jobs import RequestsOfJobs


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


def test_a_store_that_begins_a_step_later_is_still_known() -> None:
    requests = RequestsOfJobs()
    requests.learn(numbered({}, {5: "b"}))
    requests.learn(numbered({6: "c"}, {}))
    assert requests.take(5) == "b"


def test_a_job_that_no_step_planned_is_nobodys() -> None:
    requests = RequestsOfJobs()
    requests.learn(numbered({4: "a"}, {}))
    assert requests.take(9, ("device", "chunks")) is None


def test_to_0_20_a_job_is_known_by_the_very_spec_it_is_handed() -> None:
    requests = RequestsOfJobs()
    # Equal, and yet two copies.
    one, other = ([1], [2]), ([1], [2])
    requests.learn(SimpleNamespace(reqs_to_load={"a": one}, reqs_to_store={"b": other}))
    assert requests.take(0, other) == "b"
    assert requests.take(1, one) == "a"
    assert requests.take(2, ([1], [2])) is None


def test_what_has_begun_is_forgotten() -> None:
    requests = RequestsOfJobs()
    spec = ([1], [2])
    requests.learn(SimpleNamespace(reqs_to_load={"a": spec}, reqs_to_store={}))
    requests.learn(numbered({4: "b"}, {}))
    assert (requests.take(7, spec), requests.take(4)) == ("a", "b")
    assert (requests.take(7, spec), requests.take(4)) == (None, None)


def test_preempted_requests_in_place_of_metadata_plan_nothing() -> None:
    requests = RequestsOfJobs()
    requests.learn({"a", "b"})
    assert requests.take(0) is None


def test_it_is_the_turn_of_the_request_whose_tokens_are_asked_for() -> None:
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


def test_a_turn_ends_also_when_the_scheduler_fails_in_it() -> None:
    with pytest.raises(ZeroDivisionError), request_scope("a"):
        raise ZeroDivisionError
    assert context.request is None
