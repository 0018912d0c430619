"""Through connections of our own, the openai client must ask and tell as it does over those it comes with."""

from __future__ import annotations

from typing import Any

import httpx2
import openai

from loadtests.clients.completion_clients import OpenAIClient
from loadtests.clients.completion_request import COMPLETIONS, Job, body_of
from loadtests.workloads.workload import Prompt
from tests.fakes.notes import Notes
from tests.fakes.openai_server import FakeServer

OURS_TO_CHOOSE = "accept-encoding"
JOB = Job(
    id="chaos-1",
    prompt=Prompt(prompt_id="w-1", token_ids=(65, 66, 67), max_tokens=20),
    phase="chaos",
    worker=0,
    scheduled_ns=0,
)


def events_of_the_client_as_it_comes(url: str) -> list[dict[str, Any]]:
    api = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=httpx2.Timeout(None))
    stream = api.post(
        COMPLETIONS,
        cast_to=object,
        body=body_of(JOB.prompt, "tiny", with_margins=False),
        options={"headers": {"X-Request-Id": JOB.id}},
        stream=True,
        stream_cls=openai.Stream[Any],
    )
    with api, stream:
        return list(stream)


def test_reference_client_matches_the_unmodified_openai_client() -> None:
    notes = Notes()
    with FakeServer() as server:
        events = events_of_the_client_as_it_comes(server.url)
        client = OpenAIClient(server.url, "tiny", deadline_s=60.0)
        client.complete(JOB, notes)
        client.close()
    as_it_comes, ours = server.received
    assert ours.raw == as_it_comes.raw
    assert ours.headers | {OURS_TO_CHOOSE: ""} == as_it_comes.headers | {OURS_TO_CHOOSE: ""}
    (record,) = notes.records
    choices = [choice for event in events for choice in event["choices"]]
    assert record.token_ids == [token for choice in choices for token in choice["token_ids"] or ()]
    assert record.finish_reason == choices[-1]["finish_reason"]
    assert record.usage is not None
    assert record.usage.completion_tokens == events[-1]["usage"]["completion_tokens"] == 20
