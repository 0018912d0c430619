"""Debian's packages are downloaded and unpacked by apt's own means, and nothing of the system is touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvchaos.servers.debian import parse_uris
from kvchaos.servers.installation import CommandFailed, Runner
from kvchaos.tools.sources import AptSource, NotOffered, SourceUnavailable, from_playwright
from kvchaos.tools.tool import CHROMIUM
from tests.support.fake_programs import RecordedProgress, write_program
from tests.unit.tools.test_tools_install import TOOL

URIS = f"""\
Reading package lists...
'https://one.invalid/libone_1%3a2.0%2b1_amd64.deb' libone_1%3a2.0+1_amd64.deb 1500000 SHA256:{"a" * 64}
'https://one.invalid/libc6_2.41_amd64.deb' libc6_2.41_amd64.deb 100 SHA256:{"b" * 64}
'https://one.invalid/gadget-package_1.2_amd64.deb' gadget-package_1.2_amd64.deb 500000 SHA256:{"c" * 64}
"""
APT = """#!/bin/sh
echo "$@" >> {calls}
for word in "$@"; do case "$word" in Dir::Cache=*) cache=${{word#Dir::Cache=}};; esac; done
case "$*" in
*" update") exit {update};;
*status={broken}*) exit 100;;
*" --print-uris "*) cat {uris};;
*" --download-only "*) for name in {archives}; do touch "$cache/archives/$name"; done;;
*) exit 100;;
esac
"""
DPKG_DEB = """#!/bin/sh
case "$2" in
*gadget-package*) mkdir -p "$3/usr/bin"; echo '#!/bin/sh' > "$3/usr/bin/{program}";;
*) mkdir -p "$3/usr/lib/x86_64-linux-gnu"; touch "$3/usr/lib/x86_64-linux-gnu/$(basename "$2" .deb).so.1";;
esac
"""
ARCHIVES = "libone_1%3a2.0+1_amd64.deb libc6_2.41_amd64.deb gadget-package_1.2_amd64.deb"


class Debian:
    """A machine with fake package tools."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.calls = folder / "calls"
        self.uris = folder / "uris"
        self.draft = folder / "draft"
        self.draft.mkdir()
        self.progress = RecordedProgress()
        self.source = AptSource(folder / "apt")
        self.runner = Runner(self.progress, folder, folder / "log")
        self.has()

    def has(
        self,
        *,
        uris: str = URIS,
        update: int = 0,
        archives: str = ARCHIVES,
        program: str = "gadget",
        broken: str = "none",
    ) -> None:
        """Package tools that give this; apt refuses the list of what is installed in `broken`."""
        self.uris.write_text(uris)
        apt = APT.format(calls=self.calls, uris=self.uris, update=update, archives=archives, broken=broken)
        write_program(self.programs / "apt-get", apt)
        write_program(self.programs / "dpkg-deb", DPKG_DEB.format(program=program))


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    machine = Debian(tmp_path)
    monkeypatch.setenv("PATH", f"{machine.programs}:/usr/bin:/bin")
    return machine


def test_names_versions_sizes_and_checksums_are_read_from_apt() -> None:
    library, _, gadget = parse_uris(URIS.splitlines())
    assert (library.name, library.version, library.size) == ("libone", "1:2.0+1", 1_500_000)
    assert gadget.sha256 == "c" * 64
    assert gadget.file == "gadget-package_1.2_amd64.deb"


def test_a_package_without_a_strong_checksum_is_not_taken() -> None:
    assert parse_uris([f"'https://one.invalid/x_1_all.deb' x_1_all.deb 5 MD5Sum:{'a' * 32}"]) == ()


def test_package_is_fetched_with_its_dependencies(debian: Debian) -> None:
    record = debian.source(TOOL, debian.draft, debian.runner)
    assert (record.version, record.source) == ("1.2", "apt")
    assert [one.name for one in record.packages] == ["libone", "libc6", "gadget-package"]
    assert (debian.draft / "bin/gadget").is_file()
    assert any("Gadget 1.2" in step and "3 packages, 2 MB" in step for step in debian.progress.steps)


def test_system_c_library_is_not_replaced(debian: Debian) -> None:
    debian.source(TOOL, debian.draft, debian.runner)
    libraries = {path.name for path in (debian.draft / "root/usr/lib").rglob("*.so.1")}
    assert libraries == {"libone_1%3a2.0+1_amd64.so.1"}


def test_apt_uses_private_folders_and_installs_nothing(debian: Debian, tmp_path: Path) -> None:
    debian.source(TOOL, debian.draft, debian.runner)
    calls = debian.calls.read_text().splitlines()
    assert len(calls) == 3
    for call in calls:
        assert f"Dir::State={tmp_path / 'apt'}" in call
        assert f"Dir::Cache={tmp_path / 'apt'}" in call
        assert ("--print-uris" in call or "--download-only" in call) == ("install" in call.split())


def test_the_lists_are_fetched_once_for_all_programs(debian: Debian, tmp_path: Path) -> None:
    debian.source(TOOL, debian.draft, debian.runner)
    (tmp_path / "second").mkdir()
    debian.source(TOOL, tmp_path / "second", debian.runner)
    assert sum(call.endswith(" update") for call in debian.calls.read_text().splitlines()) == 1


def test_an_archive_that_was_not_downloaded_is_named(debian: Debian) -> None:
    debian.has(archives="gadget-package_1.2_amd64.deb")
    with pytest.raises(CommandFailed, match="libone_1%3a2"):
        debian.source(TOOL, debian.draft, debian.runner)


def test_package_without_the_program_is_not_used(debian: Debian) -> None:
    """Ubuntu's package of Chromium has no program in it."""
    debian.has(program="other")
    with pytest.raises(SourceUnavailable, match=r"gadget-package 1\.2 .*usr/bin/gadget"):
        debian.source(TOOL, debian.draft, debian.runner)


def test_failed_package_lists_are_fetched_again(debian: Debian) -> None:
    debian.has(update=100)
    with pytest.raises(CommandFailed):
        debian.source(TOOL, debian.draft, debian.runner)
    debian.has()
    assert debian.source(TOOL, debian.draft, debian.runner).version == "1.2"


def test_broken_system_packages_do_not_prevent_a_download(debian: Debian) -> None:
    debian.has(broken="/var/lib/dpkg/status")
    assert debian.source(TOOL, debian.draft, debian.runner).version == "1.2"


def test_a_machine_without_apt_is_named_as_such(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(debian.draft))
    with pytest.raises(SourceUnavailable, match=r"apt-get .*dpkg-deb"):
        debian.source(TOOL, debian.draft, debian.runner)


PLAYWRIGHT = """\
import os, pathlib, sys
assert sys.argv[1:] == ["install", "--only-shell", "chromium"]
if {fails}:
    sys.exit("Error: getaddrinfo ENOTFOUND")
folder = pathlib.Path(os.environ["PLAYWRIGHT_BROWSERS_PATH"]) / "chromium_headless_shell-1/linux"
folder.mkdir(parents=True)
(folder / "headless_shell").write_text("#!/bin/sh\\necho Chromium 159.0.1\\n")
(folder / "headless_shell").chmod(0o755)
"""


def fake_playwright(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    package = folder / "packages/playwright"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PLAYWRIGHT.format(fails=fails))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_playwright_download_is_used(debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_playwright(tmp_path, monkeypatch, fails=False)
    record = from_playwright(CHROMIUM, debian.draft, debian.runner)
    assert (record.source, record.version, record.packages) == ("Playwright", "159.0.1", ())
    started = subprocess.run([debian.draft / "bin/chromium"], capture_output=True, text=True, check=True)
    assert started.stdout == "Chromium 159.0.1\n"


def test_a_refused_download_is_one_quiet_reason(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_playwright(tmp_path, monkeypatch, fails=True)
    with pytest.raises(SourceUnavailable, match=r"getaddrinfo ENOTFOUND"):
        from_playwright(CHROMIUM, debian.draft, debian.runner)
    assert debian.progress.details == []


def test_playwright_installs_chromium_only(debian: Debian) -> None:
    with pytest.raises(NotOffered):
        from_playwright(TOOL, debian.draft, debian.runner)
