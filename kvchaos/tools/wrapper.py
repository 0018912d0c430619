"""The script that starts an unpacked program: the library path and the fonts are for that program alone."""

from __future__ import annotations

from pathlib import Path
from string import Template

from kvchaos.tools.tool import PROGRAMS, ROOT

SCRIPT = Template("""\
#!/bin/sh
# Starts an unpacked program with the libraries that were unpacked with it.
folder=$$(dirname "$$(dirname "$$(readlink -f "$$0")")")
root=$$folder/$root
$settings
exec "$$root/$program" "$$@"
""")
LIBRARY_PATH = Template('export LD_LIBRARY_PATH="$libraries$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"')
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir>
<dir prefix="relative">{root}/usr/share/fonts</dir>
<cachedir prefix="xdg">fontconfig</cachedir>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
</fontconfig>
"""
FONTS_FILE = "fonts.conf"


def write_wrapper(folder: Path, name: str, program: str) -> None:
    """Write `bin/NAME` in `folder`, which starts `program`, a path below `root` there. Raises OSError."""
    root = folder / ROOT
    settings = []
    if libraries := library_folders(root):
        joined = ":".join(f"$root/{path.relative_to(root)}" for path in libraries)
        settings.append(LIBRARY_PATH.substitute(libraries=joined))
    if libraries and (root / "usr/share/fonts").is_dir():
        (folder / FONTS_FILE).write_text(FONTS.format(root=ROOT))
        settings.append(f'export FONTCONFIG_FILE="$folder/{FONTS_FILE}"')
    path = folder / PROGRAMS / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT.substitute(root=ROOT, settings="\n".join(settings), program=program))
    path.chmod(0o755)


def library_folders(root: Path) -> list[Path]:
    """Folders of shared libraries below an unpacked root, the nearest to the top first.

    Only those of a machine type, such as usr/lib/x86_64-linux-gnu, and what is below: a program finds
    the libraries of its own folder by itself.
    """
    tops = [root / lib for lib in ("lib", "usr/lib") if not (root / lib).is_symlink()]
    types = [path for top in tops for path in top.glob("*-linux-*")]
    found = {path.parent for folder in types for path in folder.rglob("lib*.so*")}
    return sorted(found, key=lambda path: (len(path.parts), path))
