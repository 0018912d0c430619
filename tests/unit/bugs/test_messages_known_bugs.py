"""What is said of a file of a known bug that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.bugs.bug_catalogue import load_bugs
from kvchaos.errors import UsageError
from tests.unit.bugs.test_known_bugs import shows, write


def guidance(**changes: str) -> dict[str, str]:
    return {"impact": "server crashes", "when": "Always.", "advice": "Upgrade.", **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"titel": "x"}, r"titel: unknown key; did you mean title\?"),
        ({"shows": shows(alwys=["logs"])}, r"shows\.0\.alwys: unknown key; did you mean always\?"),
        ({"tested": [{"release": "0.18.0", "result": "shows"}]}, r"tested\.0: .* a note"),
        ({"tested": [{"release": "0.18", "result": "shows", "note": "x"}]}, r"tested\.0\.release"),
        ({"tested": [{"release": "0.18.0", "result": "maybe", "note": "x"}]}, r"tested\.0\.result"),
        ({"mechanism": "One. Two. Three. Four. Five."}, "mechanism: .*at most 4 sentences.* it has 5"),
        ({"mechanism": "no sentence"}, "mechanism: .*it has 0"),
        ({"links": ["http://example.org/1"]}, r"links\.0"),
        ({"guidance": guidance(impact="annoying")}, r"guidance\.impact: .*'server crashes'"),
        ({"guidance": guidance(when="Always")}, r"guidance\.when"),
        ({"guidance": guidance(advise="Run.")}, r"guidance\.advise: unknown key; did you mean advice\?"),
        (
            {"links": ["https://github.com/vllm-project/vllm/issues/2"]},
            "links: .*that of vllm#1",
        ),
        ({"links": []}, "links: .*that of vllm#1"),
        ({"releases": "0.16 to 0.18"}, "releases: '0.16 to 0.18' is not a version range"),
        ({"shows": shows(releases="some")}, r"shows\.0\.releases: 'some' is not a version range"),
        (
            {"shows": shows(always=["progress/dedlock"])},
            r"shows\.0: .* progress/dedlock",
        ),
        ({"shows": shows(by_chance=["lgos"])}, r"shows\.0: no rule or oracle named lgos"),
        ({"shows": [{"scenario": "aborts"}]}, r"shows\.0: .*always or in by_chance"),
        ({"shows": shows(hides=["vllm-2"])}, r"shows\.0\.hides: no known bug vllm-2"),
        ({"shows": shows(declared_by="nothing")}, r"shows\.0\.declared_by: no fault named nothing"),
        (
            {"shows": shows(subjects={"progress/dedlock": ["server"]})},
            r"shows\.0\.subjects: no rule named progress/dedlock; see: kvchaos oracles --rules",
        ),
        (
            {"shows": shows(subjects={"counters/decreased": ["vllm:x"]})},
            r"shows\.0\.subjects: counters/decreased is neither in always nor in by_chance; add it",
        ),
        ({"shows": shows(subjects={"progress/deadlock": [""]})}, r"shows\.0\.subjects\.progress/deadlock\.0"),
        ({"signatures": ["server died"]}, r"signatures\.0: server died does not begin with a rule"),
        ({"id": "vllm-2"}, r"id: vllm-2 is in a file named vllm-1\.yaml"),
    ],
)
def test_known_bug_error_is_one_line_with_file_and_key(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(UsageError, match=expected) as raised:
        load_bugs(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_a_file_that_is_not_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vllm-1.yaml").write_text("id: [\n")
    with pytest.raises(UsageError, match=r"vllm-1\.yaml:\d+: is not YAML"):
        load_bugs(tmp_path)
