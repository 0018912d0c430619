"""One request to be sent: its job, its body by the API's names, and what a refusal of it is called."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from history.records import RequestRecord
from loadtests.connections.response_arrivals import RequestFailure
from loadtests.workloads.workload import Prompt, Sampling


@dataclass(frozen=True, slots=True)
class Job:
    """One request to be sent."""

    id: str
    prompt: Prompt
    phase: str
    worker: int
    scheduled_ns: int
    client_queued: bool = False
    """It was due before a user was free to send it."""


class Sink(Protocol):
    """Receives the tokens and the end of a request."""

    def tokens(self, count: int) -> None:
        """Report tokens that have just arrived, in one event or in several that were read together."""

    def ended(self, record: RequestRecord) -> None:
        """The request is over. Called exactly once for each request, whatever its end."""


COMPLETIONS, CHAT = "/completions", "/chat/completions"
"""Behind the API's /v1."""
TO_SEE_A_GAP = 2
"""Alternatives that a server has to tell."""


def path_of(prompt: Prompt) -> str:
    """Path of the API that serves a prompt."""
    return CHAT if prompt.messages else COMPLETIONS


def body_of(prompt: Prompt, model: str, *, with_margins: bool) -> dict[str, Any]:
    """The request's body, to be sent as JSON. `with_margins`: ask for the alternatives to each token, too."""
    logprobs = prompt.sampling.logprobs
    if with_margins:
        logprobs = max(logprobs, TO_SEE_A_GAP)
    body = {
        "model": model,
        **(_chat(prompt, logprobs) if prompt.messages else _completion(prompt, logprobs)),
        "max_tokens": prompt.max_tokens,
        "ignore_eos": True,
        "return_token_ids": True,
        **_parameters(prompt.sampling),
    }
    if with_margins:
        # By their text, two tokens that are no characters would be one.
        body["return_tokens_as_token_ids"] = True
    return body


def _completion(prompt: Prompt, logprobs: int) -> dict[str, Any]:
    return {"prompt": prompt.token_ids, "logprobs": logprobs}


def _chat(prompt: Prompt, logprobs: int) -> dict[str, Any]:
    messages = [asdict(message) for message in prompt.messages]
    return {"messages": messages, "logprobs": True, "top_logprobs": logprobs}


def is_streamed(prompt: Prompt) -> bool:
    """Prompt logprobs come with answers in one piece only."""
    return prompt.sampling.prompt_logprobs is None


def _parameters(sampling: Sampling) -> dict[str, Any]:
    """What is left at its default there is not sent."""
    parameters: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.seed is not None:
        parameters["seed"] = sampling.seed
    if sampling.prompt_logprobs is None:
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}
    else:
        parameters["prompt_logprobs"] = sampling.prompt_logprobs
    if sampling.n > 1:
        parameters["n"] = sampling.n
    for name in ("top_k", "stop", "stop_token_ids", "priority", "cache_salt"):
        value = getattr(sampling, name)
        if value:
            parameters[name] = value
    return parameters


KINDS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}


def refused(status: int, body: bytes) -> RequestFailure:
    """What a request failed with that was answered so."""
    kind = KINDS.get(status) or ("InternalServerError" if status >= 500 else "APIStatusError")
    return RequestFailure(kind, _message(status, body.decode(errors="replace").strip()))


def _message(status: int, text: str) -> str:
    """The server's own words where it gave any."""
    try:
        content: Any = json.loads(text)
    except json.JSONDecodeError:
        return text or f"Error code: {status}"
    error = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return f"Error code: {status} - {content}"
