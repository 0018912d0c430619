"""What the reason of an unknown run says of a file that is not as it was sealed."""

from __future__ import annotations

from pathlib import Path

from history.seals import check, seal


def test_each_kind_of_seal_difference_has_a_message(tmp_path: Path) -> None:
    changed, longer, absent = (tmp_path / f"requests-{number}.jsonl" for number in range(3))
    for path in (changed, longer, absent):
        path.write_text("{}\n")
    seal(tmp_path)
    changed.write_text("[]\n")
    longer.write_text("{}\n{}\n")
    absent.unlink()
    (tmp_path / "server.log").touch()
    assert check(tmp_path).broken == (
        "requests-0.jsonl has another content than when the run was sealed",
        "requests-1.jsonl had 3 bytes when the run was sealed and has 6 now",
        "requests-2.jsonl is missing",
        "server.log was not there when the run was sealed",
    )
