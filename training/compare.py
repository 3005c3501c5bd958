"""What changed between two ages: the facts on their cards, their weights part by part, and their words.

Weights can be compared where both have the same tensors in the same shapes; otherwise it is said why not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import AgeError
from selves.lineage import Age
from selves.speech import Frozen, Writing
from training.recipe import differences

PARTS = ("embedding", "attention", "conv", "mlp", "norm", "head", "other")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_PART = (
    ("norm", re.compile(r"norm|\bln_")),
    ("attention", re.compile(r"attn|attention")),
    ("conv", re.compile(r"conv")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn")),
    ("head", re.compile(r"lm_head|\boutput\.weight")),
    ("embedding", re.compile(r"embed|wte|wpe")),
)


class Group(NamedTuple):
    """One part of a model: all tensors of its kind in one layer, or outside of the layers."""

    part: str
    layer: int | None


class Change(Frozen):
    """How far one group of weights moved."""

    part: str
    layer: int | None
    parameters: int
    relative: float | None
    """||b - a|| / ||a||; None where a is all zeros."""
    cosine: float | None
    """Between a and b as one long vector; None where one of them is all zeros."""


class Words(Frozen):
    """What the two wrote on the same occasion; None where one did not write."""

    kind: str
    number: int
    asked_a: str | None
    a: str | None
    asked_b: str | None
    b: str | None


class Comparison(Frozen):
    """Everything in which two ages differ."""

    a: dict[str, Any]
    b: dict[str, Any]
    """Facts from their cards, by the same names."""
    recipe: tuple[str, ...]
    """`key: old -> new` for every key that their recipes differ in."""
    weights: tuple[Change, ...]
    incomparable: str
    """Why the weights cannot be compared; "" where they are."""
    words: tuple[Words, ...]


def compare(a: Age, b: Age) -> Comparison:
    """Compare two ages of the same or of different lineages. Raises AgeError where a file is damaged."""
    changes, why = compare_weights(a.folder / a.weights_file, b.folder / b.weights_file)
    recipes = [age.card.recipe if age.card.origin == "trained" else {} for age in (a, b)]
    return Comparison(
        a=facts(a),
        b=facts(b),
        recipe=tuple(differences(recipes[0], recipes[1])) if all(recipes) else (),
        weights=tuple(changes),
        incomparable=why,
        words=tuple(pair_words(a.writings(), b.writings())),
    )


def facts(age: Age) -> dict[str, Any]:
    """Return what a comparison says of one age."""
    card = age.card
    return {
        "address": card.address,
        "stage": age.address.stage,
        "step": age.address.step,
        "parent": card.parent,
        "form": card.form,
        "architecture": card.architecture,
        "parameters": card.parameters,
        "context_tokens": card.context_tokens,
        "tokens_seen": card.tokens_seen,
        "train_loss": card.train_loss,
        "bits_per_byte": card.bits_per_byte,
        "created_at": card.created_at.isoformat(),
        "weights_sha256": card.weights_sha256,
    }


def group_of(name: str) -> Group:
    """Return the group of a tensor by its name in any of the usual decoders."""
    layer = _LAYER.search(name)
    part = next((part for part, pattern in _PART if pattern.search(name)), "other")
    return Group(part, int(layer[1]) if layer else None)


def why_incomparable(a: Mapping[str, tuple[int, ...]], b: Mapping[str, tuple[int, ...]]) -> str:
    """Say how two models' tensors (name -> shape) differ in kind; "" if they do not."""
    for mine, theirs, who in ((a, b, "first"), (b, a, "second")):
        only = sorted(mine.keys() - theirs.keys())
        if only:
            more = f" and {len(only) - 1} more" if len(only) > 1 else ""
            return f"their shapes differ: only the {who} has {only[0]}{more}"
    for name in a:
        if a[name] != b[name]:
            first, second = _shape(a[name]), _shape(b[name])
            return f"their shapes differ: {name} is {first} in the first and {second} in the second"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def compare_weights(a: Path, b: Path) -> tuple[list[Change], str]:
    """Return the change of each group of weights, all of them first, or none and why they cannot be compared.

    Tensors are read one at a time, so two large models need not fit into memory. Raises AgeError.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    sums: dict[Group, list[float]] = {}
    try:
        with safe_open(a, framework="pt") as first, safe_open(b, framework="pt") as second:
            names = list(first.keys())
            why = why_incomparable(
                {name: tuple(first.get_slice(name).get_shape()) for name in names},
                {name: tuple(second.get_slice(name).get_shape()) for name in second.keys()},  # noqa: SIM118
            )
            if why:
                return [], why
            for name in names:
                x, y = (file.get_tensor(name).to(torch.float32).flatten() for file in (first, second))
                found = [
                    float(x.numel()),
                    *(float(t.double().sum()) for t in (x * x, y * y, (y - x).square(), x * y)),
                ]
                for group in (group_of(name), Group("all", None)):
                    total = sums.setdefault(group, [0.0] * 5)
                    sums[group] = [old + new for old, new in zip(total, found, strict=True)]
    except (OSError, SafetensorError) as error:
        raise AgeError(f"the weights of {a.parent} or {b.parent} cannot be read: {error}") from error
    return [_change(group, sums[group]) for group in sorted(sums, key=_rank)], ""


def _rank(group: Group) -> tuple[int, int, int]:
    """Order: all; then the groups outside of layers before them; layer by layer; then what comes after."""
    if group.part == "all":
        return (0, 0, 0)
    part = PARTS.index(group.part)
    if group.layer is None:
        return (1 if group.part == "embedding" else 3, 0, part)
    return (2, group.layer, part)


def _change(group: Group, sums: list[float]) -> Change:
    count, aa, bb, dd, ab = sums
    return Change(
        part=group.part,
        layer=group.layer,
        parameters=int(count),
        relative=math.sqrt(dd / aa) if aa else None,
        cosine=max(-1.0, min(1.0, ab / math.sqrt(aa * bb))) if aa and bb else None,
    )


def pair_words(a: list[Writing], b: list[Writing]) -> list[Words]:
    """Put writings of the same kind and number side by side, in the order in which they were written."""
    mine, theirs = ({(w.kind, w.number): w for w in writings} for writings in (a, b))
    return [
        Words(
            kind=kind,
            number=number,
            asked_a=_asked(mine.get((kind, number))),
            a=_said(mine.get((kind, number))),
            asked_b=_asked(theirs.get((kind, number))),
            b=_said(theirs.get((kind, number))),
        )
        for kind, number in dict.fromkeys([*mine, *theirs])
    ]


def _asked(writing: Writing | None) -> str | None:
    if writing is None:
        return None
    prompt = writing.utterance.prompt
    return prompt.text or " / ".join(message.content for message in prompt.messages)


def _said(writing: Writing | None) -> str | None:
    return None if writing is None else writing.utterance.text.strip()
