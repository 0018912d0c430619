"""Places with more wheels: losing one means a CUDA torch of several GB, a wrong one means no installation."""

from __future__ import annotations

from pathlib import Path

from kvchaos.servers.interpreters import configured_find_links, existing_links, parse_pip_config
from tests.support.fake_programs import write_program


def test_find_links_are_read_from_any_section_of_pip_settings() -> None:
    text = "\n".join(
        [
            "global.index-url='https://example.org/simple'",
            "global.find-links='/a'",
            "install.find-links='\\n/b\\n/c'",
            ":env:.find-links='/d /e'",
            "global.no-find-links='/f'",
        ]
    )
    assert parse_pip_config(text) == ["/a", "/b", "/c", "/d", "/e"]


def test_unquoted_values_are_taken_as_they_are() -> None:
    assert parse_pip_config("global.find-links=/a /b") == ["/a", "/b"]


def test_missing_find_links_folders_are_left_out(tmp_path: Path) -> None:
    assert existing_links([str(tmp_path), str(tmp_path / "gone"), ""]) == [str(tmp_path)]


def test_find_links_pages_are_kept_without_duplicates(tmp_path: Path) -> None:
    page = "https://example.org/wheels"
    assert existing_links([page, str(tmp_path), page, f"{tmp_path}/"]) == [page, str(tmp_path)]


def test_environment_variables_precede_pip_files(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    python = write_program(tmp_path / "python", f"#!/bin/sh\necho \"global.find-links='{folders[2]}'\"\n")
    environ = {"PIP_FIND_LINKS": str(folders[1]), "UV_FIND_LINKS": str(folders[0])}
    assert configured_find_links(python, environ) == [str(folder) for folder in folders]


def test_an_interpreter_without_pip_has_no_settings(tmp_path: Path) -> None:
    python = write_program(tmp_path / "python", "#!/bin/sh\necho \"global.find-links='/'\"\nexit 1\n")
    assert configured_find_links(python, {}) == []
    assert configured_find_links(tmp_path / "gone", {}) == []
