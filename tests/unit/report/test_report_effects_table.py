"""What the table of faults in the documentation says of their effects."""

from __future__ import annotations

import pytest

from chaos import fault_catalogue
from kvchaos.cli.faults_command import declared_text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lookup_miss", "none"),
        ("copy_failed", "server-alive/died (once for each incarnation of the server that it struck)"),
        (
            "noise",
            "answers/not-golden or answers/not-repeated (at least 1, on requests that read the block)",
        ),
        (
            "completion_twice",
            "server-alive/died (once for each incarnation of the server that it struck); not explained, "
            "list it under expect: reported twice in one step: some releases count the two as one, "
            "others die",
        ),
    ],
)
def test_the_table_of_faults_shows_what_is_declared(kind: str, text: str) -> None:
    assert declared_text(fault_catalogue.KINDS[kind]) == text
