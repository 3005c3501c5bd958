"""An age becomes a folder that any Hugging Face tool, vLLM and the house's own engine can serve.

Weights, configuration, tokenizer, diary and card arrive in one rename: an age that is listed is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from tokenizers import Tokenizer

from selves.files import new_folder, sha256_file
from selves.lineage import CARD_FILE, DIARY_FILE, Address, AgeCard
from selves.speech import Form, Writing
from training import gpt
from training import tokenizer as alphabet
from training.gpt import GPT, Shape
from training.shape import CONVOLUTION

ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "arcee": "ArceeForCausalLM", "lfm2": "Lfm2ForCausalLM"}
"""What transformers calls each form."""
WEIGHTS_FILE = "model.safetensors"


class Facts(NamedTuple):
    """What an age's card says of it, beyond what its files say."""

    address: Address
    parent: str | None
    form: Form
    tokens_seen: int
    train_loss: float | None
    bits_per_byte: float
    sources: tuple[dict[str, Any], ...]
    license: str
    recipe: Mapping[str, Any]


def keep_age(
    folder: Path,
    kept: GPT,
    dtype: torch.dtype,
    tokenizer: Tokenizer,
    facts: Facts,
    write: Callable[[str], list[Writing]],
) -> AgeCard:
    """Write one age whole or not at all. Raises DiskError.

    `kept` holds the weights as they will be served, that is rounded to `dtype`; `write` is called with
    their sha256 and returns the age's diary.
    """
    with new_folder(folder) as partial:
        (partial / WEIGHTS_FILE).write_bytes(_weights(kept, dtype))
        sha256 = sha256_file(partial / WEIGHTS_FILE)
        ends = alphabet.stop_ids(tokenizer, facts.form)
        _write_json(partial / "config.json", model_config(kept.shape, tokenizer, dtype))
        _write_json(partial / "generation_config.json", generation_config(tokenizer, ends))
        alphabet.save(tokenizer, partial, facts.form, facts.address.lineage, kept.shape.context)
        lines = [writing.model_dump_json() + "\n" for writing in write(sha256)]
        (partial / DIARY_FILE).write_text("".join(lines), "utf-8")
        card = AgeCard(
            address=str(facts.address),
            parent=facts.parent,
            created_at=datetime.now(UTC),
            form=facts.form,
            architecture=ARCHITECTURES[kept.shape.form],
            parameters=gpt.count_parameters(kept.shape),
            context_tokens=kept.shape.context,
            tokens_seen=facts.tokens_seen,
            train_loss=facts.train_loss,
            bits_per_byte=facts.bits_per_byte,
            license=facts.license,
            sources=facts.sources,
            recipe=dict(facts.recipe),
            weights_sha256=sha256,
            files=other_files(partial),
        )
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return card


def other_files(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of every file but the weights."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != WEIGHTS_FILE}


def weights_sha256(kept: GPT, dtype: torch.dtype) -> str:
    """Return the sha256 that model.safetensors has when these weights are kept."""
    return hashlib.sha256(_weights(kept, dtype)).hexdigest()


def _weights(kept: GPT, dtype: torch.dtype) -> bytes:
    return save(
        {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in kept.state_dict().items()},
        {"format": "pt"},
    )


def model_config(shape: Shape, tokenizer: Tokenizer, dtype: torch.dtype) -> dict[str, Any]:
    """Return config.json of a stock model of the shape's form."""
    return {
        "architectures": [ARCHITECTURES[shape.form]],
        "model_type": shape.form,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_hidden,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rope_parameters": {"rope_type": "default", "rope_theta": gpt.ROPE_THETA},
        "rope_theta": gpt.ROPE_THETA,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": alphabet.token(tokenizer, alphabet.BOS),
        "eos_token_id": alphabet.token(tokenizer, alphabet.END),
        "pad_token_id": alphabet.token(tokenizer, alphabet.END),
        "dtype": str(dtype).removeprefix("torch."),
        **_own_config(shape),
    }


def _own_config(shape: Shape) -> dict[str, Any]:
    """Return what only this form has in its config.json."""
    if shape.form == "lfm2":
        return {
            "norm_eps": gpt.NORM_EPSILON,
            "block_auto_adjust_ff_dim": False,
            "conv_bias": False,
            "conv_L_cache": CONVOLUTION,
            "layer_types": ["full_attention" if attends else "conv" for attends in shape.attends],
        }
    own = {"rms_norm_eps": gpt.NORM_EPSILON, "attention_bias": False, "attention_dropout": 0.0}
    if shape.form == "arcee":
        return own | {"hidden_act": "relu2", "mlp_bias": False}
    return own | {"hidden_act": "silu", "use_sliding_window": False}


def generation_config(tokenizer: Tokenizer, ends: list[int]) -> dict[str, Any]:
    """Return generation_config.json; its end tokens are what engines stop at."""
    return {
        "bos_token_id": alphabet.token(tokenizer, alphabet.BOS),
        "eos_token_id": ends,
        "pad_token_id": alphabet.token(tokenizer, alphabet.END),
        "do_sample": True,
        "temperature": 0.8,
        "top_p": 0.95,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
