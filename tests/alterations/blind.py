"""Kinds that no rule notices yet, each with what is missing. `--blind` prints the list anew."""

from __future__ import annotations

BLIND: dict[str, str] = {}
