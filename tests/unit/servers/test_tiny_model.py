"""The model under test is the same bytes everywhere, or golden answers mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jinja2
import numpy as np
import pytest
from safetensors.numpy import load_file

from kvchaos.servers import tiny_model

FINGERPRINT = "cc48e3b96dcdc388aae7e47f9ac985d41aac9e9159d8bff6ded987cf83f7269a"
"""Give FORMAT a new name whenever this changes, and WEIGHTS one when the answers change with it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.ensure_model(tmp_path_factory.mktemp("models"))


def test_files_are_the_same_bytes_on_every_machine(folder: Path) -> None:
    assert tiny_model.fingerprint(folder) == FINGERPRINT


def test_fingerprint_changes_with_one_byte(tmp_path: Path) -> None:
    folder = tiny_model.ensure_model(tmp_path)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert tiny_model.fingerprint(folder) != FINGERPRINT


def test_fingerprint_changes_with_a_file_name(tmp_path: Path) -> None:
    folder = tiny_model.ensure_model(tmp_path)
    (folder / "config.json").rename(folder / "configuration.json")
    assert tiny_model.fingerprint(folder) != FINGERPRINT


def test_concurrent_processes_both_get_the_complete_model(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from kvchaos.servers import tiny_model; "
        "print(tiny_model.ensure_model(pathlib.Path(sys.argv[1])))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers == [str(tmp_path / tiny_model.FORMAT)] * 2
    assert tiny_model.fingerprint(tmp_path / tiny_model.FORMAT) == FINGERPRINT
    assert [path.name for path in tmp_path.iterdir()] == [tiny_model.FORMAT], "a draft was left behind"


def test_a_draft_without_weights_is_not_taken_for_the_model(tmp_path: Path) -> None:
    """A killed process leaves a draft under another name; the model is made anew beside it."""
    draft = tmp_path / f".{tiny_model.FORMAT}-killed"
    draft.mkdir()
    (draft / "config.json").write_text("{}")
    assert tiny_model.fingerprint(tiny_model.ensure_model(tmp_path)) == FINGERPRINT


def test_a_folder_of_that_name_without_weights_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / tiny_model.FORMAT
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    with pytest.raises(OSError, match=tiny_model.FORMAT):
        tiny_model.ensure_model(tmp_path)


def test_a_second_call_does_not_touch_the_files(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tiny_model.ensure_model(folder.parent) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_weights_have_the_shapes_of_the_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    hidden, heads = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
    kv_heads = config["num_key_value_heads"] * config["head_dim"]
    assert tensors["model.embed_tokens.weight"].shape == (config["vocab_size"], hidden)
    assert tensors["lm_head.weight"].shape == (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        assert tensors[f"{attention}.q_proj.weight"].shape == (heads, hidden)
        assert tensors[f"{attention}.k_proj.weight"].shape == (kv_heads, hidden)
        assert tensors[f"{attention}.v_proj.weight"].shape == (kv_heads, hidden)
        assert tensors[f"{attention}.o_proj.weight"].shape == (hidden, heads)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"float32"}
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_weight_matrices_are_all_different(folder: Path) -> None:
    """Equal layers would hide that a block was put back into the wrong one."""
    matrices = [
        value.tobytes() for value in load_file(folder / "model.safetensors").values() if value.ndim == 2
    ]
    assert len(set(matrices)) == len(matrices)


def test_token_n_is_byte_n(folder: Path) -> None:
    """Prompt lengths are counted in bytes: the vocabulary must follow the byte-level alphabet exactly."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    by_id = {number: text for text, number in vocabulary.items()}
    assert sorted(by_id) == list(range(256))
    assert all(len(text) == 1 for text in by_id.values())
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    assert all(by_id[byte] == chr(byte) for byte in printable)
    stand_ins = [by_id[byte] for byte in range(256) if byte not in printable]
    assert stand_ins == [chr(256 + offset) for offset in range(len(stand_ins))]
    assert by_id[ord(" ")] == "Ġ"
    assert by_id[ord("\n")] == "Ċ"


def test_no_merges_join_bytes_into_longer_tokens(folder: Path) -> None:
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["merges"] == []


def test_every_id_of_the_output_layer_can_be_decoded(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    known = set(tokenizer["model"]["vocab"].values()) | {token["id"] for token in tokenizer["added_tokens"]}
    assert known == set(range(tiny_model.VOCAB_SIZE))


def test_a_chat_can_be_written_as_a_prompt(folder: Path) -> None:
    """Without a template 0.16 and 0.17 start with a traceback in their log, which looks like a crash."""
    template = jinja2.Template(json.loads((folder / "tokenizer_config.json").read_text())["chat_template"])
    messages = [{"role": "user", "content": "Hello"}]
    assert template.render(messages=messages, add_generation_prompt=True) == "user: Hello\nassistant: "
