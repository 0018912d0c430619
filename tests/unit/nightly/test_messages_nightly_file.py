"""`nightly.yaml`: mistakes get one line with file, key and problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.nightly_file import read_nightly_file

GOOD = """
measurements:
  - scenario: chat-return
    watch: {ttft-median: 0.05, throughput: 0.03}
  - scenario: baseline-offload
    rates: [2, 4]
    watch: {itl-median: 0.05}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "nightly.yaml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_procedure(tmp_path: Path) -> None:
    found = read_nightly_file(write(tmp_path, GOOD))
    assert (found.screen_pairs, found.confirm_pairs, found.control_every) == (6, 18, 7)
    assert [each.watched for each in found.measurements] == [2, 2]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("measurements: []", "measurements"),
        (GOOD + "night: 3", "night: unknown key"),
        (GOOD.replace("throughput", "thruput"), "unknown figure thruput"),
        (GOOD.replace("[2, 4]", "[4, 2]"), "rising"),
        (GOOD.replace("0.05", "0"), "greater than 0"),
        (GOOD + "  - {scenario: chat-return, watch: {throughput: 0.05}}", "there twice"),
        (GOOD + "  - {scenario: baseline-offload, phase: load, rates: [4], watch: {}}", "there twice"),
        (GOOD + "screen_pairs: 3", "screen_pairs"),
        (GOOD.replace("[2, 4]", str([*range(1, 50)])), "40 at most"),
    ],
)
def test_mistake_is_one_line_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_nightly_file(path)
    assert str(caught.value).startswith(str(path))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
