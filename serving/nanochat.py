"""nanochat's model of July 2026 for the embedded engine: no stock class of transformers is this model.

`selves ages import nanochat` writes folders that it loads. What it adds to an ordinary GPT, in order:

    smear            each token's embedding gets a gated share of the embedding before it
    scalars          each layer's input is a learned mixture of the stream and the first embedding (x0)
    value embeddings every other layer adds a gated embedding of the token itself to its attention values
    backout          a share of the stream at half depth is subtracted before the last norm

Norms have no weights; queries and keys are normed after rotation and sharpened; layers look back over
windows; the MLP's activation is ReLU squared; logits are capped by tanh. Specification: karpathy/nanochat
(MIT), nanochat/gpt.py of 2026-07-03, whose names the parameters bear, so that weights cross unchanged.

The first layer's cache is a "hybrid" one: beside keys and values it keeps the last embedding, which smear
needs when the next token comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

MODEL_TYPE = "selves_nanochat"


class SelvesNanochatConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Everything about the model that its weights do not say."""

    model_type = MODEL_TYPE

    vocab_size: int = 32768
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    num_key_value_heads: int = 6
    max_position_embeddings: int = 2048
    attention_windows: list[int] | None = None
    """For each layer, how many tokens before its own a token sees. None: all."""
    value_embedding_layers: list[int] | None = None
    """Layers that have value embeddings. None: none."""
    gate_channels: int = 12
    """The first channels of a layer's input, from which the gates of its value embeddings are computed."""
    smear_channels: int = 24
    """The first channels of an embedding, from which its smear gate is computed."""
    rope_theta: float = 100_000.0
    query_key_scale: float = 1.2
    final_logit_softcapping: float = 15.0
    tie_word_embeddings: bool = False

    def __post_init__(self, **others: Any) -> None:
        layers = self.num_hidden_layers
        if self.attention_windows is None:
            self.attention_windows = [self.max_position_embeddings] * layers
        if len(self.attention_windows) != layers:
            raise ValueError(f"{len(self.attention_windows)} attention_windows for {layers} layers")
        if self.value_embedding_layers is None:
            self.value_embedding_layers = []
        # what transformers makes the cache by
        others["layer_types"] = ["hybrid"] + ["full_attention"] * (layers - 1)
        super().__post_init__(**others)  # type: ignore[no-untyped-call]

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class Sight:
    """What the attention of one forward pass needs to know of positions.

    `seen` tokens are in the cache, `new` ones come; angles are (new, head_dim / 2).
    """

    def __init__(self, config: SelvesNanochatConfig, seen: int, new: int, like: Tensor) -> None:
        self._positions = torch.arange(seen, seen + new, device=like.device)
        self._keys = torch.arange(seen + new, device=like.device)
        channels = torch.arange(0, config.head_dim, 2, device=like.device).float()
        angles = torch.outer(self._positions.float(), 1.0 / config.rope_theta ** (channels / config.head_dim))
        self._cos, self._sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)

    def rotate(self, heads: Tensor) -> Tensor:
        """Turn (B, H, T, D) by the angles of its positions, backwards, as nanochat does."""
        first, second = heads.chunk(2, dim=-1)
        turned = (first * self._cos + second * self._sin, second * self._cos - first * self._sin)
        return torch.cat(turned, dim=-1)

    def mask(self, window: int) -> Tensor:
        """Return (new, seen + new) bool: True where a token may look, `window` tokens back at most."""
        back = self._positions[:, None] - self._keys
        return (back >= 0) & (back <= window)


class Attention(nn.Module):
    def __init__(self, config: SelvesNanochatConfig, layer: int) -> None:
        super().__init__()
        width, key_width = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.layer = layer
        self.head_dim = config.head_dim
        self.scale = config.query_key_scale
        assert config.attention_windows is not None, "the configuration fills them in"
        self.window = config.attention_windows[layer]
        self.gate_channels = config.gate_channels
        self.c_q = nn.Linear(width, width, bias=False)
        self.c_k = nn.Linear(width, key_width, bias=False)
        self.c_v = nn.Linear(width, key_width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        if layer in (config.value_embedding_layers or ()):
            self.ve_gate = nn.Linear(self.gate_channels, config.num_key_value_heads, bias=False)

    def forward(
        self, x: Tensor, token_values: Tensor | None, sight: Sight, cache: DynamicCache | None
    ) -> Tensor:
        """Map (B, T, C) to (B, T, C); `token_values` are this layer's value embeddings, if it has them."""
        query, key, value = (self._heads(project(x)) for project in (self.c_q, self.c_k, self.c_v))
        if token_values is not None:
            gate = 3 * self.ve_gate(x[..., : self.gate_channels]).sigmoid()  # (B, T, key heads)
            value = value + gate.transpose(1, 2)[..., None] * self._heads(token_values)
        query, key = (_norm(sight.rotate(heads)) * self.scale for heads in (query, key))
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        seen = F.scaled_dot_product_attention(
            query, key, value, attn_mask=sight.mask(self.window), enable_gqa=query.shape[1] != key.shape[1]
        )
        return self.c_proj(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, T, H * D) into (B, H, T, D)."""
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.c_fc(x).relu().square())  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, config: SelvesNanochatConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = Mlp(config.hidden_size)

    def forward(
        self, x: Tensor, token_values: Tensor | None, sight: Sight, cache: DynamicCache | None
    ) -> Tensor:
        x = x + self.attn(_norm(x), token_values, sight, cache)
        return x + self.mlp(_norm(x))  # type: ignore[no-any-return]


class SelvesNanochatForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """The whole model. Sequences of one batch have one length: there is no padding."""

    config_class = SelvesNanochatConfig
    config: SelvesNanochatConfig
    _supports_sdpa = True

    def __init__(self, config: SelvesNanochatConfig) -> None:
        super().__init__(config)
        layers, width = config.num_hidden_layers, config.hidden_size
        key_width = config.num_key_value_heads * config.head_dim
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, width),
                "h": nn.ModuleList(Block(config, layer) for layer in range(layers)),
            }
        )
        self.value_embeds = nn.ModuleDict(
            {
                str(layer): nn.Embedding(config.vocab_size, key_width)
                for layer in config.value_embedding_layers or ()
            }
        )
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.resid_lambdas = nn.Parameter(torch.ones(layers))
        self.x0_lambdas = nn.Parameter(torch.zeros(layers))
        self.smear_gate = nn.Linear(config.smear_channels, 1, bias=False)
        self.smear_lambda = nn.Parameter(torch.zeros(1))
        self.backout_lambda = nn.Parameter(torch.zeros(1))
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer["wte"]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Return logits (B, T, V), or only of the last `logits_to_keep` positions, for ids (B, T).

        `past_key_values` is a DynamicCache made for this config, or None. Raises ValueError for padding,
        which the model does not know, and for tuples, which nobody should want.
        """
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError("this model does not know padding: give sequences of one length")
        if return_dict is False:
            raise ValueError("this model returns a CausalLMOutputWithPast")
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        cache = past_key_values
        embedded = _norm(self.transformer["wte"](input_ids))
        x0 = x = self._smear(embedded, cache)
        sight = Sight(self.config, cache.get_seq_length() if cache is not None else 0, input_ids.shape[1], x)
        halfway = x
        blocks: Iterable[Block] = self.transformer["h"]  # type: ignore[assignment]
        for layer, block in enumerate(blocks):
            x = self.resid_lambdas[layer] * x + self.x0_lambdas[layer] * x0
            x = block(x, self._token_values(layer, input_ids), sight, cache)
            if layer == self.config.num_hidden_layers // 2:
                halfway = x
        x = _norm((x - self.backout_lambda * halfway)[:, -logits_to_keep:])
        cap = self.config.final_logit_softcapping
        logits = cap * torch.tanh(self.lm_head(x).float() / cap)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def _smear(self, embedded: Tensor, cache: DynamicCache | None) -> Tensor:
        """Add to each embedding (B, T, C) its gated share of the one before; the very first has none."""
        before = cache.get_conv_state(0) if cache is not None else None  # (B, C, 1)
        first = torch.zeros_like(embedded[:, :1]) if before is None else before.transpose(1, 2)
        earlier = torch.cat([first, embedded[:, :-1]], dim=1)
        gate = self.smear_lambda * self.smear_gate(embedded[..., : self.config.smear_channels]).sigmoid()
        if cache is not None:
            cache.update_conv_state(embedded[:, -1:].transpose(1, 2), 0)
        smeared: Tensor = embedded + gate * earlier
        return smeared

    def _token_values(self, layer: int, input_ids: Tensor) -> Tensor | None:
        name = str(layer)
        embeds: Tensor | None = self.value_embeds[name](input_ids) if name in self.value_embeds else None
        return embeds


def _norm(x: Tensor) -> Tensor:
    """Scale the last dimension to a root mean square of one."""
    return F.rms_norm(x, (x.shape[-1],))


def register() -> None:
    """Make transformers' Auto classes load folders of this model type. Doing it again changes nothing."""
    AutoConfig.register(MODEL_TYPE, SelvesNanochatConfig, exist_ok=True)
    AutoModelForCausalLM.register(SelvesNanochatConfig, SelvesNanochatForCausalLM, exist_ok=True)
