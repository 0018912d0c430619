"""Programs that a machine lacks are obtained once, whole, from the first source whose program works."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from kvchaos.cli import setup_commands as command
from kvchaos.cli.app import run
from kvchaos.paths import tools_folder
from kvchaos.servers.installation import CommandFailed, Runner
from kvchaos.tools import installer, sources
from kvchaos.tools.installer import DRAFTS, InstallResult, existing_tool, install_tools
from kvchaos.tools.otava import OTAVA
from kvchaos.tools.sources import (
    AptSource,
    NotOffered,
    Source,
    from_package_index,
    run_limited,
    try_out,
    write_wrapper,
)
from kvchaos.tools.tool import PackageRecord, Tool, ToolRecord, find_tool, read_record
from tests.support.fake_programs import FakeUv, RecordedProgress, write_program
from tests.support.fake_server_runs import wait_for

TOOL = Tool(
    name="gadget",
    title="Gadget",
    variable="KVCHAOS_GADGET",
    path_names=("gadget", "gadget-browser"),
    package="gadget-package",
    programs=(("gadget", "usr/bin/gadget"),),
    trial=("--version",),
)
PACKAGE = PackageRecord(name="gadget-package", version="1.2", size=3_000_000, sha256="0" * 64)


class FakeSource:
    """Unpacks a program that ends with a code; or cannot."""

    def __init__(self, code: int = 0, failure: Exception | None = None) -> None:
        self.calls = 0
        self._code = code
        self._failure = failure

    def __call__(self, tool: Tool, draft: Path, runner: Runner) -> ToolRecord:
        self.calls += 1
        program = draft / "root/usr/bin/gadget"
        program.parent.mkdir(parents=True)
        write_program(program, f"#!/bin/sh\nexit {self._code}\n")
        write_wrapper(draft, tool.name, "usr/bin/gadget")
        if self._failure is not None:
            raise self._failure
        return ToolRecord(
            tool=tool.name, version="1.2", source="apt", unpacked=7_000_000, packages=(PACKAGE,)
        )


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "programs").mkdir()
    return {"KVCHAOS_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path / "programs")}


def folder(environ: dict[str, str]) -> Path:
    return tools_folder(Path(environ["KVCHAOS_CACHE"]))


def obtained(environ: dict[str, str], **sources: Source) -> installer.InstallResult:
    (outcome,) = install_tools([TOOL], environ, RecordedProgress(), lambda _: sources)
    return outcome


def test_source_whose_program_fails_is_followed_by_the_next(environ: dict[str, str]) -> None:
    assert obtained(environ, broken=FakeSource(code=1), whole=FakeSource()).path is not None


def test_second_call_uses_the_installed_program(environ: dict[str, str]) -> None:
    obtained(environ, source=FakeSource())
    again = FakeSource()
    assert existing_tool(TOOL, environ) == obtained(environ, source=again)
    assert again.calls == 0


def test_concurrent_calls_obtain_the_program_once(environ: dict[str, str]) -> None:
    source = FakeSource()
    threads = [
        threading.Thread(target=obtained, args=(environ,), kwargs={"source": source}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 1
    assert find_tool(environ, TOOL) is not None


def test_remains_of_an_interrupted_call_are_removed(environ: dict[str, str]) -> None:
    left = folder(environ) / DRAFTS / "gadget/root"
    left.mkdir(parents=True)
    (folder(environ) / "gadget").mkdir()
    assert obtained(environ, source=FakeSource()).path is not None
    assert not left.exists()


def test_program_named_by_the_variable_precedes_all(environ: dict[str, str], tmp_path: Path) -> None:
    write_program(Path(environ["PATH"]) / "gadget", "#!/bin/sh\n")
    mine = write_program(tmp_path / "mine", "#!/bin/sh\n")
    assert find_tool({**environ, "KVCHAOS_GADGET": str(mine)}, TOOL) == mine


def test_damaged_tool_record_is_ignored(environ: dict[str, str]) -> None:
    obtained(environ, source=FakeSource())
    gadget = folder(environ) / "gadget"
    assert read_record(gadget, TOOL) is not None
    (gadget / "tool.json").write_text("{")
    assert read_record(gadget, TOOL) is None


def test_bundled_libraries_apply_to_their_program_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for library in ("x86_64-linux-gnu/libone.so.1", "x86_64-linux-gnu/deeper/libtwo.so", "gadget/libown.so"):
        (root / "usr/lib" / library).parent.mkdir(parents=True, exist_ok=True)
        (root / "usr/lib" / library).touch()
    (root / "usr/share/fonts").mkdir(parents=True)
    (root / "usr/bin").mkdir()
    write_program(root / "usr/bin/gadget", '#!/bin/sh\necho "$LD_LIBRARY_PATH|$FONTCONFIG_FILE|$*|$$"\n')
    write_wrapper(tmp_path, "gadget", "usr/bin/gadget")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "bin/gadget")
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/before"}
    with subprocess.Popen([link, "a b", "c"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
    libraries = root / "usr/lib/x86_64-linux-gnu"
    expected = f"{libraries}:{libraries}/deeper:/before|{tmp_path}/fonts.conf|a b c|{process.pid}"
    assert out.strip() == expected, "or it is another process than the one that was started"


def test_hanging_program_is_ended_with_its_children(tmp_path: Path) -> None:
    runner = Runner(RecordedProgress(), tmp_path, tmp_path / "log")
    program = write_program(tmp_path / "hang", HANG)
    with pytest.raises(CommandFailed, match="3 s"):
        run_limited([str(program)], {"PATH": "/usr/bin:/bin"}, 3.0, runner)
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not _runs(child))


HANG = """#!/bin/sh
sleep 300 &
echo $! > child
wait
"""


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_failed_trial_shows_the_error_line(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    write_program(
        tmp_path / "bin/gadget", "#!/bin/sh\necho error while loading libone.so\necho bye\nexit 127\n"
    )
    with pytest.raises(CommandFailed, match=r"code 127: .*libone\.so"):
        try_out(TOOL, tmp_path, Runner(RecordedProgress(), tmp_path, tmp_path / "log"))


@pytest.mark.parametrize(("ci", "code"), [("true", 3), ("", 0)])
def test_missing_program_fails_only_in_continuous_integration(
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    code: int,
) -> None:
    for name, value in {**environ, "CI": ci}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "ALL_TOOLS", (TOOL,))
    assert run(["tools", "install"]) == code
    assert "Gadget: missing: " in capsys.readouterr().err


def test_package_index_fills_an_environment_that_can_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv, draft = FakeUv(tmp_path), tmp_path / "draft"
    draft.mkdir()
    monkeypatch.setattr(sources, "find_uv_bin", lambda: str(uv.path))
    runner = Runner(RecordedProgress(), tmp_path, tmp_path / "log")
    record = from_package_index(OTAVA, draft, runner)
    assert (record.version, record.source) == ("0.8.0", "package index")
    assert "--relocatable" in uv.calls[0]
    assert uv.calls[1][-1] == "apache-otava==0.8.0"
    assert (draft / "bin/otava").is_file()


def test_each_source_declines_a_tool_that_it_never_has(tmp_path: Path) -> None:
    runner = Runner(RecordedProgress(), tmp_path, tmp_path / "log")
    with pytest.raises(NotOffered):
        from_package_index(TOOL, tmp_path, runner)
    with pytest.raises(NotOffered):
        AptSource(tmp_path)(OTAVA, tmp_path, runner)


def test_large_tool_is_installed_by_name_only(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    named: list[str] = []

    def note(tool: Tool, environ: object) -> InstallResult:
        named.append(tool.name)
        return InstallResult(tool, Path("/bin/true"), "here")

    monkeypatch.setattr(command, "existing_tool", note)
    assert run(["tools", "install"]) == 0
    assert run(["tools", "install", "otava"]) == 0
    assert named == ["prometheus", "amtool", "chromium", "otava"]
