"""Cards on the Hub (pure): a README.md for an age, and one for its lineage.

What a self wrote stands in them as text, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selves.lineage import Age, AgeCard
from selves.markdown import block, front_matter, inline
from selves.speech import Writing
from training.evals.results import Result

SHOWN_WRITINGS = 24
SHOWN_CHARACTERS = 2000
"""So much of each writing is in a card; all of it is in the age's diary.jsonl."""
LICENSES = {
    "mit": "mit",
    "apache-2.0": "apache-2.0",
    "cc0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "bsd-3-clause": "bsd-3-clause",
}
"""What the Hub calls the licences that are often met."""


def head(card: AgeCard, repo: str, *, tags: Sequence[str] = ()) -> str:
    """Return the front matter of an age's card."""
    known = LICENSES.get(card.license.lower())
    return front_matter(
        {
            "license": known or ("other" if card.license else ""),
            "license_name": "" if known else re.sub(r"[^a-z0-9.-]+", "-", card.license.lower()).strip("-"),
            "library_name": "peft" if card.adapter_of else "transformers",
            "pipeline_tag": "text-generation",
            "base_model": base_repo(card, repo),
            "datasets": sorted({str(s["hub"]) for s in card.sources if s.get("hub")}),
            "tags": ["selves", card.address.partition("@")[0], *tags],
        }
    )


def age_card(
    age: Age, repo: str, endpoint: str, writings: Sequence[Writing], results: Mapping[str, Result]
) -> str:
    """Return the README of one age, in its own revision of `repo` at this Hub."""
    card = age.card
    parts = [
        head(card, repo, tags=[age.address.stage]),
        f"# {inline(card.address)}",
        f"One age of {inline(age.address.lineage)}, a language model whose every age was kept. "
        f"The others are the [revisions of this repository]({endpoint}/{repo}/tree/main).",
        facts(card),
        _wrote(writings),
        measured(results),
        how_to_load(card, repo),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def lineage_card(
    ages: Sequence[Age],
    away: Sequence[str],
    repo: str,
    results: Mapping[str, Mapping[str, Result]],
    writings: Mapping[str, Sequence[Writing]],
) -> str:
    """Return the README of `main`: who this is, and every age, in order of life, with its revision.

    `away` are revisions of ages that are there and no longer here, `writings` what may be shown, by address.
    """
    newest = ages[-1]
    name = newest.address.lineage
    rows = [_row(age, writings[age.card.address]) for age in ages] + [
        f"| `{revision}` | | | |" for revision in away
    ]
    parts = [
        head(newest.card, repo),
        f"# {inline(name.capitalize())}",
        f"A language model of {newest.card.parameters:,} parameters, in {len(rows)} ages. Each age is a "
        f"revision; `main` is the newest, `{newest.address.age}`.",
        "| revision | tokens read | bits per byte | first words |\n| --- | ---: | ---: | --- |\n"
        + "\n".join(rows),
        measured(results.get(newest.card.address, {})),
        how_to_load(newest.card, repo),
        "Made with Selves. `age.json` of each revision says how it came to be, `diary.jsonl` what it wrote.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def base_repo(card: AgeCard, repo: str) -> str:
    """Return where the age that an adapter goes on is published, beside it; "" for a full age."""
    if card.adapter_of is None:
        return ""
    base = card.adapter_of.partition("@")[0]
    return repo if base == card.address.partition("@")[0] else f"{repo.partition('/')[0]}/{base}"


def facts(card: AgeCard) -> str:
    """Return where an age comes from, as a table."""
    rows = {
        "parent": card.parent or "random numbers" if card.origin == "trained" else card.parent,
        "adapter on": card.adapter_of,
        "made": f"{card.created_at:%Y-%m-%d}",
        "architecture": f"{card.architecture}, {card.parameters:,} parameters, {card.context_tokens} tokens",
        "tokens read": f"{card.tokens_seen:,}" if card.tokens_seen else None,
        "bits per byte": _number(card.bits_per_byte) or None,
        "spoken to as": card.form,
        "learned from": ", ".join(filter(None, map(source_name, card.sources or _corpora(card.recipe)))),
        "came from": card.source,
        "licence": card.license,
        "weights, sha256": card.weights_sha256,
    }
    lines = [f"| {name} | {inline(str(value))} |" for name, value in rows.items() if value]
    return "| | |\n| --- | --- |\n" + "\n".join(lines)


def _corpora(recipe: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [table for table in recipe.get("corpus", []) if isinstance(table, Mapping)]


def source_name(source: Mapping[str, Any]) -> str:
    """Name what an age read: of a folder only its last part."""
    if folder := source.get("folder"):
        return Path(str(folder)).name
    named = source.get("hub") or source.get("package") or source.get("function")
    revision = source.get("revision") if source.get("hub") else None
    return f"{named}@{revision}" if revision else str(named or "")


def measured(results: Mapping[str, Result]) -> str:
    """Return evals as a table; "" if there are none."""
    if not results:
        return ""
    lines = [
        f"| {inline(r.suite)} | {r.score:.3f} | {r.low:.3f} to {r.high:.3f} | {_number(r.chance)} | {r.n:,} |"
        for r in results.values()
    ]
    table = "| suite | score | 95 % interval | chance | items |\n| --- | ---: | --- | ---: | ---: |\n"
    return "## Evals\n\n" + table + "\n".join(lines)


def how_to_load(card: AgeCard, repo: str) -> str:
    """Return code that loads an age by its revision."""
    revision = card.address.partition("@")[2]
    if card.adapter_of:
        base, at = base_repo(card, repo), card.adapter_of.partition("@")[2]
        return _code(
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM",
            f'base = AutoModelForCausalLM.from_pretrained("{base}", revision="{at}")\n'
            f'model = PeftModel.from_pretrained(base, "{repo}", revision="{revision}")',
        )
    return _code(
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        f'model = AutoModelForCausalLM.from_pretrained("{repo}", revision="{revision}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}", revision="{revision}")',
    )


def _code(imports: str, calls: str) -> str:
    return f"## How to load it\n\n```python\n{imports}\n\n{calls}\n```"


def _wrote(writings: Sequence[Writing]) -> str:
    """Return the first sample of each occasion; nobody chose among them."""
    first = [w for w in writings if not w.number][:SHOWN_WRITINGS]
    if not first:
        return ""
    left = len(writings) - len(first)
    more = [f"*({left:,} more in `diary.jsonl`)*"] if left else []
    return "\n\n".join(["## What it wrote", *map(_writing, first), *more])


def _writing(writing: Writing) -> str:
    prompt = writing.utterance.prompt
    asked = prompt.text or (prompt.messages[-1].content if prompt.messages else "")
    sampling = writing.utterance.sampling
    drawn = f"seed {sampling.seed}, temperature {sampling.temperature:g}, top-p {sampling.top_p:g}"
    said = block(writing.utterance.text, limit=SHOWN_CHARACTERS)
    return (
        f"**{inline(writing.kind)}**, given: {inline(asked) or '(nothing)'}\n\n{said}\n\n<sub>{drawn}</sub>"
    )


def _row(age: Age, writings: Sequence[Writing]) -> str:
    card = age.card
    bits = _number(card.bits_per_byte)
    return f"| `{age.address.age}` | {card.tokens_seen:,} | {bits} | {_first_words(writings)} |"


def _first_words(writings: Sequence[Writing]) -> str:
    words = next((w.utterance.text for w in writings if w.kind == "continuation"), "")
    return inline(words[:80]) + ("…" if len(words) > 80 else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
