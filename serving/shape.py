"""What kind of decoder an age is: read from its config, so that ages of one kind can be run as one.

The families here are those whose forward pass `decoder.py` has; everything else is left to transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Norm = Literal["rms", "layer"]


class Names(NamedTuple):
    """Where a family keeps its tensors; `{}` stands for the number of the layer, "" for what it has not."""

    embed: str
    layer: str
    attention_norm: str
    qkv: tuple[str, ...]
    q_norm: str
    k_norm: str
    out: str
    mlp_norm: str
    up: tuple[str, ...]
    """One, or a gate and what it gates."""
    down: str
    norm: str
    head: str
    positions: str = ""
    turned: bool = False
    """Whether linear weights are (in, out), as GPT-2's, and not (out, in)."""


_LLAMA = Names(
    embed="model.embed_tokens.weight",
    layer="model.layers.{}.",
    attention_norm="input_layernorm",
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    q_norm="",
    k_norm="",
    out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    up=("mlp.gate_proj", "mlp.up_proj"),
    down="mlp.down_proj",
    norm="model.norm",
    head="lm_head",
)
_NEOX = Names(
    embed="gpt_neox.embed_in.weight",
    layer="gpt_neox.layers.{}.",
    attention_norm="input_layernorm",
    qkv=("attention.query_key_value",),
    q_norm="",
    k_norm="",
    out="attention.dense",
    mlp_norm="post_attention_layernorm",
    up=("mlp.dense_h_to_4h",),
    down="mlp.dense_4h_to_h",
    norm="gpt_neox.final_layer_norm",
    head="embed_out",
)
_GPT2 = Names(
    embed="transformer.wte.weight",
    layer="transformer.h.{}.",
    attention_norm="ln_1",
    qkv=("attn.c_attn",),
    q_norm="",
    k_norm="",
    out="attn.c_proj",
    mlp_norm="ln_2",
    up=("mlp.c_fc",),
    down="mlp.c_proj",
    norm="transformer.ln_f",
    head="lm_head",
    positions="transformer.wpe.weight",
    turned=True,
)
FAMILIES: Mapping[str, Names] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA._replace(q_norm="self_attn.q_norm", k_norm="self_attn.k_norm"),
    "arcee": _LLAMA._replace(up=("mlp.up_proj",)),
    "gpt_neox": _NEOX,
    "gpt2": _GPT2,
}
"""Model type -> names. SmolLM2 is a llama, Pythia a gpt_neox."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "relu2": lambda x: torch.relu(x).square(),
}
_SCALED_ROPES = ("linear", "llama3", "yarn")
"""Kinds of rotary embedding whose frequencies do not change with the length of the text."""


class Shape(NamedTuple):
    """All that the forward pass must know beside the weights. Ages of one shape are run as one batch."""

    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    norm: Norm
    eps: float
    activation: str
    inner: int
    """Width of the MLP."""
    biased: tuple[bool, ...]
    """Which of the linear maps have a bias, as far as that is a choice."""
    tied: bool
    """Whether the embedding is the head too."""
    parallel: bool
    """Whether attention and MLP read the same input, as in GPT-NeoX."""
    frequencies: tuple[float, ...]
    """Of the rotary embedding, for the first 2 * len(frequencies) numbers of a head; none: it has none."""
    rotary_scale: float
    dtype: torch.dtype

    @property
    def names(self) -> Names:
        return FAMILIES[self.family]


def read_shape(config: Any, context_tokens: int, dtype: torch.dtype) -> Shape | None:
    """Return the shape of a model from its transformers config; None when it is none of ours."""
    family = config.model_type
    if family not in FAMILIES or not _is_plain(config, context_tokens):
        return None
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotary = ((), 1.0) if family == "gpt2" else _rotary(config, head_dim)
    layered = family in ("gpt2", "gpt_neox")
    activation = getattr(config, "hidden_act", None) or config.activation_function
    if rotary is None or activation not in ACTIVATIONS:
        return None
    frequencies, scale = rotary
    return Shape(
        family=family,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_dim=head_dim,
        vocabulary=config.vocab_size,
        norm="layer" if layered else "rms",
        eps=_epsilon(config),
        activation=activation,
        inner=getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 0,
        biased=tuple(bool(getattr(config, name, False)) for name in ("attention_bias", "mlp_bias")),
        tied=bool(config.tie_word_embeddings),
        parallel=bool(getattr(config, "use_parallel_residual", False)),
        frequencies=frequencies,
        rotary_scale=scale,
        dtype=dtype,
    )


def _is_plain(config: Any, context_tokens: int) -> bool:
    """Whether nothing is set that the families have only as an option and `decoder.py` does not have."""
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    if window and slides and getattr(config, "use_sliding_window", True) and window < context_tokens:
        return False
    odd = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")
    usual = {"scale_attn_weights": True, "pretraining_tp": 1}
    return (
        not any(getattr(config, name, False) for name in odd)
        and all(getattr(config, name, value) == value for name, value in usual.items())
        and getattr(config, "quantization_config", None) is None
    )


def _rotary(config: Any, head_dim: int) -> tuple[tuple[float, ...], float] | None:
    """Return the frequencies of the rotary embedding (Su et al. 2021) and the scale of cos and sin."""
    rope = config.rope_parameters
    if rope["rope_type"] == "default":
        dims = int(head_dim * rope.get("partial_rotary_factor", 1.0))
        steps = torch.arange(0, dims, 2, dtype=torch.float) / dims
        return tuple((1.0 / (rope["rope_theta"] ** steps)).tolist()), 1.0
    if rope["rope_type"] not in _SCALED_ROPES:
        return None
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    frequencies, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    return tuple(frequencies.tolist()), float(scale)


def _epsilon(config: Any) -> float:
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"):
        if hasattr(config, name):
            return float(getattr(config, name))
    raise AssertionError(f"{config.model_type} has no epsilon")
