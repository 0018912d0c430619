"""Finding tcmalloc, or fetching it without root: 0.18 does not start without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.paths import lib_folder
from kvchaos.servers import install_server
from kvchaos.servers.installation import Runner
from tests.support.fake_programs import RecordedProgress, write_program

LDCONFIG = """\
3 libs found in cache `/etc/ld.so.cache'
\tlibtcmalloc_minimal.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4
\tlibtcmalloc_minimal.so.4 (libc6) => /lib/i386-linux-gnu/libtcmalloc_minimal.so.4
\tlibz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1
"""
APT = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
*" update") exit {update};;
*" download {package}") touch {package}_1_amd64.deb;;
*) echo "E: Unable to locate package" >&2; exit 100;;
esac
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/lib"
echo library > "$3/usr/lib/libtcmalloc_minimal.so.4.5.18"
ln -s libtcmalloc_minimal.so.4.5.18 "$3/usr/lib/libtcmalloc_minimal.so.4"
"""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(RecordedProgress(), tmp_path, tmp_path / "log")


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without tcmalloc; returns a folder of programs that comes first on PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    write_program(programs / "ldconfig", "#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(install_server, "LIB_FOLDERS", ())
    return programs


def debian(programs: Path, *, package: str, update: int = 0) -> Path:
    """Put fake package tools on the PATH; returns the file of their calls."""
    calls = programs / "apt-calls"
    write_program(programs / "apt-get", APT.format(calls=calls, package=package, update=update))
    write_program(programs / "dpkg-deb", DPKG_DEB)
    return calls


def test_32_bit_libraries_are_ignored() -> None:
    found = install_server.parse_ldconfig(LDCONFIG)
    assert found["libtcmalloc_minimal.so.4"] == Path("/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4")


def test_system_library_is_found_through_ldconfig(cache: Path, bare_machine: Path, tmp_path: Path) -> None:
    library = tmp_path / "libtcmalloc_minimal.so.4"
    library.touch()
    line = f"\\tlibtcmalloc_minimal.so.4 (libc6,x86-64) => {library}"
    write_program(bare_machine / "ldconfig", f"#!/bin/sh\nprintf '{line}\\n'\n")
    assert install_server.find_tcmalloc(cache) == library


def test_a_stale_entry_of_ldconfig_is_not_taken(cache: Path, bare_machine: Path) -> None:
    line = "\\tlibtcmalloc_minimal.so.4 (libc6,x86-64) => /gone/libtcmalloc_minimal.so.4"
    write_program(bare_machine / "ldconfig", f"#!/bin/sh\nprintf '{line}\\n'\n")
    assert install_server.find_tcmalloc(cache) is None


@pytest.mark.parametrize("package", ["libtcmalloc-minimal4t64", "libtcmalloc-minimal4"])
def test_preload_package_is_fetched_under_either_name(
    cache: Path, bare_machine: Path, runner: Runner, package: str
) -> None:
    debian(bare_machine, package=package)
    fetched = install_server.ensure_tcmalloc(cache, runner)
    assert fetched == lib_folder(cache) / "libtcmalloc_minimal.so.4"
    assert fetched.read_text() == "library\n"
    assert [path.name for path in lib_folder(cache).iterdir()] == [fetched.name], "scratch was left behind"


def test_apt_uses_private_folders_only(cache: Path, bare_machine: Path, runner: Runner) -> None:
    calls = debian(bare_machine, package="libtcmalloc-minimal4t64")
    install_server.ensure_tcmalloc(cache, runner)
    for call in calls.read_text().splitlines():
        assert f"Dir::State={lib_folder(cache)}" in call
        assert f"Dir::Cache={lib_folder(cache)}" in call
        assert "install" not in call.split()


def test_preload_package_is_fetched_once(cache: Path, bare_machine: Path, runner: Runner) -> None:
    calls = debian(bare_machine, package="libtcmalloc-minimal4t64")
    first = install_server.ensure_tcmalloc(cache, runner)
    before = calls.read_text()
    assert install_server.ensure_tcmalloc(cache, runner) == first
    assert calls.read_text() == before


@pytest.mark.parametrize(("package", "update"), [("another", 0), ("libtcmalloc-minimal4t64", 100)])
def test_failed_fetch_names_the_packages_to_install(
    cache: Path, bare_machine: Path, runner: Runner, package: str, update: int
) -> None:
    debian(bare_machine, package=package, update=update)
    with pytest.raises(UsageError, match="Debian: libtcmalloc-minimal4t64") as caught:
        install_server.ensure_tcmalloc(cache, runner)
    assert "\n" not in str(caught.value)


def test_libiomp5_is_taken_from_the_environment_only(cache: Path, tmp_path: Path, runner: Runner) -> None:
    with pytest.raises(UsageError, match=r"lib/libiomp5\.so "):
        install_server.resolve(["iomp5"], tmp_path, cache, runner)
