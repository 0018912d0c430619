"""What is said of a YAML file that is not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from history import strict_yaml
from history.strict_yaml import MAX_BYTES, BadYaml, load_yaml, parse_yaml


def test_yaml_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_yaml, "MAX_VALUES", 100)
    assert parse_yaml("[" + "1," * 99 + "]", "f") == [1] * 99
    with pytest.raises(BadYaml, match="more than 100 values"):
        parse_yaml("[" + "1," * 100 + "]", "f")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadYaml, match=r"f\.yaml: is larger than 8 MiB; give a smaller file$"):
        load_yaml(path)


def test_text_that_is_not_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"a: b\nc: \xff\n")
    with pytest.raises(BadYaml, match=r"f\.yaml:2: is not UTF-8 text; "):
        load_yaml(path)


@pytest.mark.timeout(10)
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="Is no regular file"):
            load_yaml(path)
