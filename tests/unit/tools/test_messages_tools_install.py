"""What is said of tools, obtained or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.cli.app import run
from kvchaos.errors import UsageError
from kvchaos.servers.installation import CommandFailed
from kvchaos.tools.installer import DRAFTS, existing_tool
from kvchaos.tools.sources import NotOffered, SourceUnavailable
from kvchaos.tools.tool import find_tool, need_tool
from tests.support.fake_programs import write_program
from tests.unit.tools.test_tools_install import TOOL, FakeSource, folder, obtained


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "programs").mkdir()
    return {"KVCHAOS_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path / "programs")}


def test_the_first_source_that_works_is_taken(environ: dict[str, str]) -> None:
    first, second, third = FakeSource(failure=SourceUnavailable("refused")), FakeSource(), FakeSource()
    outcome = obtained(environ, first=first, second=second, third=third)
    assert outcome.path == find_tool(environ, TOOL) == folder(environ) / "gadget/bin/gadget"
    assert (first.calls, second.calls, third.calls) == (1, 1, 0)
    assert "1.2 from apt, 1 packages, 3 MB downloaded, 7 MB on disk" in outcome.line()


def test_program_that_does_not_start_is_not_kept(environ: dict[str, str]) -> None:
    outcome = obtained(environ, broken=FakeSource(code=1))
    assert outcome.path is None
    assert "broken: gadget ended with code 1" in outcome.note
    assert find_tool(environ, TOOL) is None


@pytest.mark.parametrize(
    "failure",
    [
        SourceUnavailable("no apt-get"),
        CommandFailed("apt-get", 100, "E: refused"),
        OSError(28, "No space left"),
    ],
)
def test_unobtainable_program_is_one_line_with_every_reason(
    environ: dict[str, str], failure: Exception
) -> None:
    outcome = obtained(
        environ, one=FakeSource(failure=SourceUnavailable("refused")), two=FakeSource(failure=failure)
    )
    line = outcome.line()
    assert "\n" not in line
    assert line.startswith(f"Gadget: missing: one: refused; two: {failure}")
    assert line.endswith("(Debian: sudo apt install gadget-package), or: export KVCHAOS_GADGET=PATH")
    assert not (folder(environ) / "gadget").exists()
    assert not (folder(environ) / DRAFTS).exists(), "a draft was left behind"


def test_a_source_that_never_has_the_program_is_no_reason(environ: dict[str, str]) -> None:
    outcome = obtained(
        environ, never=FakeSource(failure=NotOffered()), one=FakeSource(failure=SourceUnavailable("refused"))
    )
    assert outcome.note.startswith("one: refused (see ")


def test_program_on_the_path_precedes_the_cache(environ: dict[str, str]) -> None:
    obtained(environ, source=FakeSource())
    mine = write_program(Path(environ["PATH"]) / "gadget-browser", "#!/bin/sh\n")
    assert find_tool(environ, TOOL) == mine
    outcome = existing_tool(TOOL, environ)
    assert outcome is not None
    assert outcome.line() == f"Gadget: on the PATH: {mine}"


def test_missing_named_program_is_not_replaced(environ: dict[str, str], tmp_path: Path) -> None:
    obtained(environ, source=FakeSource())
    named = {**environ, "KVCHAOS_GADGET": str(tmp_path / "nowhere")}
    assert find_tool(named, TOOL) is None
    outcome = existing_tool(TOOL, named)
    assert outcome is not None
    assert outcome.path is None
    with pytest.raises(UsageError, match=r"KVCHAOS_GADGET: .*/nowhere is not a program"):
        need_tool(named, TOOL)


def test_unknown_program_is_one_line_with_the_known_ones(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KVCHAOS_CACHE", environ["KVCHAOS_CACHE"])
    assert run(["tools", "install", "grafana"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "kvchaos: tool 'grafana' is unknown; choose from: prometheus, amtool, chromium, otava"


def test_only_the_named_program_is_obtained(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write_program(Path(environ["PATH"]) / "prometheus", "#!/bin/sh\n")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert run(["tools", "install", "prometheus"]) == 0
    assert capsys.readouterr().out == f"Prometheus: on the PATH: {mine}\n"
    assert not folder(environ).exists()
