"""Answers with an error status, told as the openai client tells them."""

from __future__ import annotations

import json
from typing import Any

from loadtests.failures import RequestFailure

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
