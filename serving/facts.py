"""What a plan has to know of an age: its size, its shape, what it goes on. Its weights are not read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from selves.errors import AgeError
from selves.files import sha256_text
from selves.lineage import ADAPTER_CONFIG_FILE, DIARY_FILE, Age
from selves.speech import Frozen

NOT_OF_THE_SHAPE = (DIARY_FILE, "README.md")
"""Files of an age that say nothing of how its model is built or spelled."""


class Identity(NamedTuple):
    """What an age is told by: one that was deleted and trained anew is another."""

    address: str
    weights_sha256: str
    created_at: datetime

    @classmethod
    def of(cls, age: Age) -> Identity:
        return cls(age.card.address, age.card.weights_sha256, age.card.created_at)


class AgeFacts(Frozen):
    """One age, as far as memory and engines are concerned. Of an adapter, the shape is that of its base."""

    address: str
    lineage: str
    context_tokens: int
    parameters: int
    """Of an adapter: with its base's."""
    stored_bytes: int
    """Size of its weights file."""
    adapter_of: str | None = None
    rank: int = 0
    """Largest rank of an adapter."""
    key: str = ""
    """Equal for ages that differ in nothing but their weights."""
    model_type: str = ""
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    hidden: int = 0
    problem: str = ""
    """Why it cannot be served by anything; empty if it can."""

    @property
    def kv_values(self) -> int:
        """How many numbers the cache keeps for one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def read_facts(age: Age) -> AgeFacts:
    """Read an age's facts; what is wrong with its files is in `problem`."""
    card = age.card
    facts = AgeFacts(
        address=card.address,
        lineage=age.address.lineage,
        context_tokens=card.context_tokens,
        parameters=card.parameters,
        stored_bytes=0,
        adapter_of=card.adapter_of,
        key=_key(age),
    )
    try:
        base = age.base()
        shape = shape_of((base or age).read_json("config.json"))
        if base is not None:
            shape["rank"] = largest_rank(age.read_json(ADAPTER_CONFIG_FILE))
        stored = (age.folder / age.weights_file).stat().st_size
    except AgeError as error:
        return facts.model_copy(update={"problem": error.problem})
    except OSError as error:
        return facts.model_copy(update={"problem": f"{age.folder / age.weights_file}: {error.strerror}"})
    return facts.model_copy(update={"stored_bytes": stored, **shape})


def shape_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the shape that a config.json tells, whatever it calls it; 0 where it does not say. Pure."""
    text = config.get("text_config")
    said = {**config, **(text if isinstance(text, dict) else {})}

    def number(*names: str) -> int:
        return next((value for name in names if isinstance(value := said.get(name), int)), 0)

    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head")
    return {
        "model_type": str(config.get("model_type", "")),
        "layers": number("num_hidden_layers", "n_layer"),
        "heads": heads,
        "kv_heads": number("num_key_value_heads", "n_kv_head") or heads,
        "head_dim": number("head_dim") or hidden // max(1, heads),
        "hidden": hidden,
    }


def largest_rank(config: dict[str, Any]) -> int:
    """Return the largest rank that an adapter's configuration names. Pure."""
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    return max((rank for rank in ranks if isinstance(rank, int)), default=0)


def _key(age: Age) -> str:
    files = {name: sha256 for name, sha256 in age.card.files.items() if name not in NOT_OF_THE_SHAPE}
    return sha256_text(json.dumps([age.weights_file, sorted(files.items())]))[:16]
