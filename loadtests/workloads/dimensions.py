"""Which parameters of a workload are lengths and which are numbers of distinct things, and how both scale.

Lengths times L and numbers times W keep the pressure on a server with L x W times the KV blocks. The same
share of the working set fits, and the same share of each prompt returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from history.strict_model import Strict


class Dimension(Enum):
    """What a parameter measures. A parameter without one is a share, a time or a count inside a request."""

    LENGTH = "tokens"
    WIDTH = "distinct prompts, prefixes, documents, conversations or agents"


LENGTH = Dimension.LENGTH
WIDTH = Dimension.WIDTH


@dataclass(frozen=True, slots=True)
class Factors:
    """Whole numbers, so that a prefix of whole blocks stays one of whole blocks."""

    length: int = 1
    width: int = 1

    def of(self, dimension: Dimension) -> int:
        """The factor of a dimension."""
        return self.length if dimension is LENGTH else self.width


Params = TypeVar("Params", bound=Strict)


def dimensions(params: type[Strict]) -> dict[str, Dimension]:
    """The parameters that scale, by name."""
    return {
        name: mark
        for name, field in params.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Dimension)
    }


def scaled_params(params: Params, factors: Factors) -> Params:
    """The parameters of the same load in a larger size. Raises ValueError when one gets too large."""
    values = params.model_dump()
    for name, dimension in dimensions(type(params)).items():
        if values[name] is not None:
            values[name] *= factors.of(dimension)
    return type(params).model_validate(values)
