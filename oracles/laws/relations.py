"""All relations between series that vLLM moves together."""

from __future__ import annotations

from oracles.laws import caches, requests

LAWS = (*requests.LAWS, *caches.LAWS)
RULES = tuple(dict.fromkeys(law.rule for law in LAWS))
