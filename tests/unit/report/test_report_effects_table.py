"""What the table of faults in the documentation says of their effects."""

from __future__ import annotations

import pytest

from chaos import fault_catalogue
from kvchaos.cli.faults_command import declared_text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lookup_miss", "none"),
        ("copy_failed", "server-alive/died (once for each life of the server that it struck)"),
        (
            "noise",
            "answers/not-golden or answers/not-repeated (at least 1, on requests that read the block)",
        ),
        ("nan", "not declared: it may spread to other blocks, and requests fail as well as differ"),
    ],
)
def test_the_table_of_faults_shows_what_is_declared(kind: str, text: str) -> None:
    assert declared_text(fault_catalogue.KINDS[kind]) == text
