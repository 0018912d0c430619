"""The tiny model under test: a random float32 Llama with a byte-level tokenizer, made on the spot.

Every weight comes from SHAKE-256 of the tensor's name, so the files are the same bytes on every machine and
with every library version. `fingerprint` identifies them in the run record. The weights are wide enough that
damage to one cached block moves the logprobs of every request that reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

FORMAT = "kvchaos-tiny-2"
"""Names the folder: what is written there changes only together with it."""
WEIGHTS = "kvchaos-tiny-1"
"""What the weights are drawn from, and so the answers."""
VOCAB_SIZE = 320
HIDDEN = 64
INTERMEDIATE = 128
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD_SIZE = 32
MAX_POSITIONS = 4096
END_OF_TEXT = 256
BYTES_PER_TOKEN = 2 * LAYERS * KV_HEADS * HEAD_SIZE * 4
"""KV cache bytes that one token takes: keys and values, all layers, float32."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

Weights = npt.NDArray[np.float32]


def ensure_model(cache: Path) -> Path:
    """Return the model's folder under `cache`, made when missing. Safe to call from two processes."""
    target = cache / FORMAT
    if (target / "model.safetensors").is_file():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{FORMAT}-", dir=cache))
    write_model(draft)
    try:
        draft.chmod(0o755)
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)
        # Fine when another process finished first; its files are the same bytes.
        if not (target / "model.safetensors").is_file():
            raise
    return target


def write_model(folder: Path) -> None:
    """Write config, tokenizer and weights into `folder`, which must exist."""
    write_files(folder, config(), dict(_tensors()))


def write_files(folder: Path, configuration: Mapping[str, object], tensors: Mapping[str, Weights]) -> None:
    """Write a model with the tokenizer of this one. Its vocabulary must have the same size."""
    for name, content in (
        ("config.json", configuration),
        ("generation_config.json", {"eos_token_id": END_OF_TEXT, "pad_token_id": END_OF_TEXT}),
        ("tokenizer.json", _tokenizer()),
        ("tokenizer_config.json", _tokenizer_config()),
    ):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")
    # The weights come last: their presence says that the folder is whole.
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and bytes of the model's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _tensors() -> Iterator[tuple[str, Weights]]:
    yield "model.embed_tokens.weight", _random("embed", (VOCAB_SIZE, HIDDEN), 1.0)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes = {
            "self_attn.q_proj": (HEADS * HEAD_SIZE, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_SIZE, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_SIZE, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HEADS * HEAD_SIZE),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        for name, shape in shapes.items():
            key = f"{at}.{name}.weight"
            yield key, _random(key, shape, math.sqrt(3.0 / shape[1]))
        yield f"{at}.input_layernorm.weight", np.ones(HIDDEN, np.float32)
        yield f"{at}.post_attention_layernorm.weight", np.ones(HIDDEN, np.float32)
    yield "model.norm.weight", np.ones(HIDDEN, np.float32)
    yield "lm_head.weight", _random("lm_head", (VOCAB_SIZE, HIDDEN), math.sqrt(3.0 / HIDDEN))


def _random(name: str, shape: tuple[int, int], bound: float) -> Weights:
    """Uniform in [-bound, bound), exact in float32: 24 random bits scaled by a power-of-two step."""
    count = shape[0] * shape[1]
    raw = hashlib.shake_256(f"{WEIGHTS}/{name}".encode()).digest(4 * count)
    bits = np.frombuffer(raw, dtype="<u4") >> 8
    unit = bits.astype(np.float64) / 2**23 - 1.0
    return (unit * bound).astype(np.float32).reshape(shape)


def config() -> dict[str, object]:
    """Content of `config.json`."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": END_OF_TEXT,
        "torch_dtype": "float32",
    }


def _tokenizer() -> dict[str, object]:
    """Byte-level BPE without merges: token n is byte n, so prompt lengths are byte lengths."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    specials = [(END_OF_TEXT, "<|end|>")]
    specials += [(n, f"<|unused-{n}|>") for n in range(END_OF_TEXT + 1, VOCAB_SIZE)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, text in specials
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: byte for byte, text in enumerate(_byte_alphabet())},
            "merges": [],
        },
    }


def _byte_alphabet() -> list[str]:
    """The printable stand-in of each byte in byte-level BPE: itself, or a code point from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|end|>",
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        # Some releases try the template when they start, and log a traceback when there is none.
        "chat_template": CHAT_TEMPLATE,
    }
