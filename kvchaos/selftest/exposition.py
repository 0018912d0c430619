"""Altering samples in the text of a scrape, or taking them out, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from history.metrics import parse_key

ValueChange = Callable[[float], float]


def alter_samples(text: str, metric: str, labels: Mapping[str, str], change: ValueChange) -> str:
    """The text with the value of each sample of a metric that has these labels changed.

    Raises LookupError when there is no such sample: a mutant that altered nothing proves nothing.
    """
    altered, lines = 0, text.split("\n")
    for number, line in enumerate(lines):
        key, space, value = line.rpartition(" ")
        if not space or not line.startswith(metric):
            continue
        name, found = parse_key(key)
        if name == metric and labels.items() <= found.items():
            lines[number] = f"{key} {change(float(value))!r}"
            altered += 1
    if not altered:
        raise LookupError(f"no sample of {metric} {dict(labels)} to alter")
    return "\n".join(lines)


def drop_metric(text: str, metric: str) -> str:
    """The text without the samples of a metric. Raises LookupError when there is none."""
    lines = text.split("\n")
    kept = [line for line in lines if line.partition("{")[0].partition(" ")[0] != metric]
    if len(kept) == len(lines):
        raise LookupError(f"no sample of {metric} to take out")
    return "\n".join(kept)
