"""One dial: from the number of layers, everything of [model] and [base] that a recipe does not state.

Two ends were measured, and what lies between them is a straight line in logarithms: a model 128 wide that
learns from 1.6 million tokens (recipes/demo.toml), and nanochat's d12, 768 wide, with its scaling rules above
that (github.com/karpathy/nanochat, scripts/base_train.py): tokens in proportion to parameters, batches of
2^19 tokens at d12 that grow with the tokens to the power of 0.383 (Bergsma et al. 2025, arXiv:2505.13738),
rates of embedding and head that fall with the square root of the width.
"""

from __future__ import annotations

import math
from typing import Any

from training.shape import Shape, count_matrices

ASPECT = 64
"""Width per layer."""
SMALL_WIDTH, SMALL_TOKENS, SMALL_BATCH = 128, 1.6e6, 2**11
D12_WIDTH, D12_TOKENS, D12_BATCH = 768, 1.32e9, 2**19
D12_DECAY = 0.28
MATRIX_RATES = (0.025, 0.02)
REST_RATES = (0.02, 0.008)
EMBEDDING_RATE = 0.2


def hidden_width(width: int) -> int:
    """Return the width inside a block's MLP: 8/3 of the model's, rounded up to a multiple of 32."""
    return -(-width * 8 // 3 // 32) * 32


def model_values(depth: int) -> dict[str, Any]:
    """Return [model] for so many layers."""
    width = max(SMALL_WIDTH, ASPECT * depth)
    return {
        "depth": depth,
        "width": width,
        "head_dim": 128 if depth >= 12 and width % 128 == 0 else 64,
        "context": 256 if depth < 5 else 512 if depth < 8 else 1024 if depth < 12 else 2048,
        "vocabulary": 2 ** (11 if depth < 3 else 12 if depth < 5 else 13 if depth < 8 else 15),
    }


def base_values(model: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """Return what [base] is for a complete [model], given what the recipe states of it."""
    width = model["width"]
    # However a width is cut into heads, they hold as many parameters; so do the other forms.
    parameters = count_matrices(
        Shape(model["vocabulary"], width, model["depth"], 1, width, hidden_width(width), model["context"])
    )
    tokens = stated.get("tokens_per_parameter", 12.0) * parameters
    batch = stated.get("batch_tokens") or batch_tokens(tokens, model["context"])
    large = width >= D12_WIDTH
    return {
        "batch_tokens": batch,
        "steps": max(1, round(tokens / batch)),
        "matrix_rate": _between(MATRIX_RATES, width),
        "embedding_rate": round(EMBEDDING_RATE * min(1.0, (width / D12_WIDTH) ** -0.5), 6),
        "rest_rate": _between(REST_RATES, width),
        "weight_decay": round(D12_DECAY * math.sqrt(batch / D12_BATCH) * D12_TOKENS / tokens, 4)
        if large
        else 0.0,
        "ages": max(8, min(16, round(math.log2(max(2, tokens / batch))) + 2)),
        "heldout_tokens": 2**15 if width < 384 else 2**18,
    }


def batch_tokens(tokens: float, context: int) -> int:
    """Return how many tokens a step reads in a run of `tokens`: a power of two, at least one context's."""
    slope = math.log(D12_BATCH / SMALL_BATCH) / math.log(D12_TOKENS / SMALL_TOKENS)
    if tokens < D12_TOKENS:
        batch = SMALL_BATCH * (tokens / SMALL_TOKENS) ** slope
    else:
        batch = D12_BATCH * (tokens / D12_TOKENS) ** 0.383
    whole = 2 ** max(0, round(math.log2(max(batch / context, 1))))
    return context * int(whole)


def _between(ends: tuple[float, float], width: int) -> float:
    small, large = ends
    share = math.log(max(width, SMALL_WIDTH) / SMALL_WIDTH) / math.log(D12_WIDTH / SMALL_WIDTH)
    if share <= 1:
        return float(f"{small * (large / small) ** share:.3g}")
    return float(f"{large * (width / D12_WIDTH) ** -0.5:.3g}") if ends is REST_RATES else large


def turn(data: Any) -> Any:
    """Return a recipe's raw tables with all that follows from `depth` filled in.

    What is stated wins. Values that cannot be are computed around, and left for validation to name.
    """
    if not isinstance(data, dict):
        return data
    model, base = data.get("model", {}), data.get("base", {})
    if not isinstance(model, dict) or not isinstance(base, dict):
        return data
    sizes = {key: value for key, value in model.items() if _is_size(value)}
    amounts = {key: value for key, value in base.items() if _is_amount(value)}
    full = model_values(sizes.get("depth", 4)) | sizes
    kept = {} if full["width"] < D12_WIDTH else {"kept_dtype": "bfloat16"}
    return kept | data | {"model": full | model, "base": base_values(full, amounts) | base}


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**20
