"""What is said of a scenario file that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from history.scenario import StackName
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import check_stack, find_scenario, load_scenario


def assert_one_line(error: UsageError, path: Path) -> None:
    """It names the file and perhaps the line, then the problem."""
    message = str(error)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: ", message)
    assert "\n" not in message
    assert ": :" not in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "must be keys with values"),
        (b"# nothing but a comment\n", "must be keys with values"),
        (b"- name\n", "must be keys with values"),
        (b"42\n", "must be keys with values"),
        (b"name: [\n", "is not YAML"),
        (b"name: a\n\tsummary: b\n", "is not YAML"),
        (b"name: a\nname: b\n", r"odd\.yaml:2: key name twice"),
        (b"server: {gpu_blocks: 40, gpu_blocks: 50}\n", "key gpu_blocks twice"),
        (b"? [a, b]\n: c\n", "as a key"),
        (b"name: a\n---\nname: b\n", "a second document"),
        (b"name: !!python/object:os.system {}\n", "tag .*is not allowed"),
        (b"name: b\xff\n", "is not UTF-8"),
        (b'name: "\\ud800"\n', "is not YAML"),
        (b"true: a\n", "true: unknown key"),
        (b"summary: &a [*a]\n", r"odd\.yaml:1: anchor &a is not allowed; write values out"),
    ],
)
def test_file_without_a_scenario_is_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=expected) as caught:
        load_scenario(path)
    assert_one_line(caught.value, path)


def test_missing_scenario_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "nothing.yaml"
    with pytest.raises(UsageError, match="cannot be read: No such file") as caught:
        load_scenario(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_folder_as_scenario_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_scenario(tmp_path)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no scenario named nonsense; there are .*baseline-offload"):
        find_scenario("nonsense")


@pytest.mark.parametrize("stack", ["compose-gpu", "attach"])
def test_chats_are_refused_for_a_model_with_an_unknown_template(stack: StackName) -> None:
    scenario = load_scenario(find_scenario("chat-completions"))
    with pytest.raises(
        UsageError, match=f"workloads.mixed: chat_share needs the tiny model, .* --stack {stack}"
    ):
        check_stack(scenario, stack)
