"""README.md of an age that was post-trained (pure): where it comes from, what it read, what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from selves.lineage import AgeCard
from selves.markdown import inline
from training.cards import source_name
from training.figure import Figure, table
from training.post.recipe import BY_REWARD, PostRecipe

HOW = {
    "sft": "It learned answers by example (supervised fine-tuning, loss on the answers alone).",
    "dpo": "It learned which of two answers is preferred (direct preference optimization).",
    "kto": "It learned which answers are wanted and which are not (Kahneman-Tversky optimization).",
    "grpo": "It learned from rewards for its own answers, compared in groups (GRPO).",
    "rloo": "It learned from rewards for its own answers, each against the others (RLOO).",
    "distill": "It learned to say the next word as another age would, in its own answers (distillation).",
    "sdft": "It learned to answer as it does when it has read more, such as letters (self-distillation).",
    "reward": "It learned which of two answers is preferred, and gives answers a number (a reward model).",
    "ageing": "Nothing was learned: its weights were drawn away from what they had become.",
    "merge": "Nothing was learned: its weights are a mean of others'.",
}


def readme(recipe: PostRecipe, card: AgeCard, before: Sequence[Figure], after: Sequence[Figure]) -> str:
    """Return the card."""
    adapter = card.adapter_of is not None
    front = [
        "---",
        *([f"license: {card.license.lower()}"] if card.license and "," not in card.license else []),
        f"library_name: {'peft' if adapter else 'transformers'}",
        "pipeline_tag: text-generation",
        f"tags: [selves, {recipe.method}{', lora' if adapter else ''}]",
        "---",
    ]
    parts = [
        "\n".join(front),
        f"# {card.address}",
        f"A self of {card.parameters:,} parameters that began as `{recipe.base}` and comes from "
        f"`{card.parent}`. {HOW[recipe.method]}"
        + (f" This is a LoRA adapter; it speaks with the weights of `{card.adapter_of}`." if adapter else ""),
    ]
    if card.age_restricted:
        parts.append("It is marked: it speaks only in channels that are marked as age-restricted.")
    if before or after:
        parts += [
            "## Before and after",
            _markdown(table([(recipe.base, before), (card.address, after)])),
            "In brackets are 95 % intervals. Held-out rows, and what suites and traits ask, were not learned "
            "here; what was learned before stands in the card of the age that it comes from.",
        ]
    if card.sources:
        parts += ["## What it read", _sources(card.sources)]
    if recipe.method in BY_REWARD:
        parts.append("Rewards: " + ", ".join(f"`{name}`" for name in recipe.reward.functions))
    parts += [
        "## Recipe",
        f"```json\n{json.dumps(recipe.model_dump(mode='json', exclude_defaults=True), indent=2)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _sources(sources: Sequence[dict[str, Any]]) -> str:
    lines = []
    for source in sources:
        if "rows" not in source:  # text that the age it began as was raised on
            lines.append(f"- `{source_name(source)}`")
            continue
        name = next((source[key] for key in ("file", "folder", "hub", "function") if key in source), "?")
        hashes = [source["sha256"]] if "sha256" in source else list(source.get("files", {}).values())
        shown = f", sha256 {', '.join(h[:16] for h in hashes)}" if hashes else ""
        terms = f", {source['license']}" if source.get("license") else ""
        out = f", {source['with_probes']} left out that hold a probe" if "with_probes" in source else ""
        lines.append(
            f"- `{name}`: {source['rows']} rows learned, {source['held_out']} held out{out}{terms}{shown}"
        )
        lines += [f"  - {inline(row)}" for row in source.get("sample", ())]
    return "\n".join(lines)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
