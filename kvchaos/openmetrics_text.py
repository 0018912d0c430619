"""Gauges as OpenMetrics text, from which `promtool tsdb create-blocks-from openmetrics` makes a database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
TimedSample = tuple[str, float, int]
"""Labels as text, value, and its time in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class GaugeFamily:
    """One metric; the samples of each of its series are together and in order of time."""

    name: str
    text: str
    samples: Iterable[TimedSample]
    unit: str = ""

    def lines(self) -> Iterator[str]:
        """The metric as text."""
        yield f"# HELP {self.name} {self.text}\n# TYPE {self.name} gauge\n"
        if self.unit:
            yield f"# UNIT {self.name} {self.unit}\n"
        for labels, value, time in self.samples:
            yield f"{self.name}{{{labels}}} {value:.10g} {time}\n"


def exposition(families: Iterable[GaugeFamily]) -> str:
    """All metrics as one text, which ends with `# EOF`."""
    return "".join([*(line for family in families for line in family.lines()), "# EOF\n"])


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand between the braces."""
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in labels.items())
