"""The card of a data set (pure): a README.md as the Hugging Face Hub reads it, from the record of an export.

It says how many rows come from where, on which grounds they may be used, what was left out and why, how the
splits were made, and how to load them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from memory.formats import OF_SCENES
from memory.wanted import Wanted

_WHAT = {
    "dpo": "Pairs of answers to the same prompt, the better one first (`prompt`, `chosen`, `rejected`)",
    "kto": "Answers that were wanted or not (`prompt`, `completion`, `label`)",
    "sft": "Answers to learn (`prompt`, `completion`)",
    "grpo-prompts": "Prompts to answer (`prompt`)",
    "transcript": "Whole scenes (`turns` of speaker and text)",
    "dce": "Whole scenes as DiscordChatExporter writes channels, one file each",
}
_TRAINERS = {
    "dpo": "DPOTrainer",
    "kto": "KTOTrainer",
    "sft": "SFTTrainer",
    "grpo-prompts": "GRPOTrainer",
}
_STRENGTHS = """- Where people disagreed the majority counts, and a tie makes no row.
- What was reported or deleted is not in it.
- `strong`: all votes were blind. `weak`: other votes, reactions, samples that were asked for again.
  `synthetic`: a rule chose, no person did."""
_RULES = {
    "dpo": f"""- A pair is two samples of one age for one prompt. Votes between ages make no pair.
{_STRENGTHS}""",
    "kto": f"""- A label comes from votes (for one, against the other) and reactions; no reaction is no label.
{_STRENGTHS}""",
    "sft": """- An answer is the sample as the engine gave it, not the line as it was posted.
- What was reported, deleted or edited by a person is not in it.""",
    "grpo-prompts": """- The same prompt is in it once.""",
    "transcript": """- `somebody` says `…` where a person's words may not be shown.""",
    "dce": """- Lines of people whose words may not be shown are left out; only their place is kept.""",
}


def card(wanted: Wanted, summary: Mapping[str, Any], *, version: str, created_at: datetime) -> str:
    """Return the card; `summary` is what was counted as the rows were written."""
    rows: Mapping[str, int] = summary["rows"]
    title = f"Selves: {wanted.format}"
    what = "lines" if wanted.format in OF_SCENES else "rows"
    parts = [
        _front(wanted, rows),
        f"# {title}\n\n"
        f"{_WHAT[wanted.format]}, made on {created_at:%Y-%m-%d} by Selves {version} for the purpose "
        f"`{wanted.purpose}`. `provenance.jsonl` says for every row what it is made of.",
        _table("Rows", "split", rows),
        _table("Where the words come from", "origin", summary["origins"], what) + _of_prompts(wanted),
        _table("On which grounds", "basis", summary["basis"], what),
        _table("Which feedback", "source", summary["sources"]) if summary["sources"] else "",
        _lengths(wanted, rows, summary["chosen_longer"]),
        _table("Who speaks", "age", summary["ages"], what),
        _table("What was left out", "reason", summary["left_out"], what) if summary["left_out"] else "",
        f"## Rules\n\n{_RULES[wanted.format]}\n{_split_rule(wanted)}",
        _asked(wanted),
        _load(wanted, rows),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _of_prompts(wanted: Wanted) -> str:
    if wanted.format in OF_SCENES:
        return ""
    return "\n\nA prompt's origins are those of the words in it that no self said."


def _lengths(wanted: Wanted, rows: Mapping[str, int], longer: int) -> str:
    """People like what is longer; whoever trains on pairs should know how much of that they learn."""
    if wanted.format != "dpo" or not rows:
        return ""
    share = longer / sum(rows.values())
    return f"The better answer is the longer one in {share:.0%} of the pairs."


def _front(wanted: Wanted, rows: Mapping[str, int]) -> str:
    if wanted.format == "dce" or not rows:
        return "---\ntags:\n- selves\n---"
    end = "parquet" if wanted.parquet else "jsonl"
    files = "".join(f"  - split: {split}\n    path: data/{split}.{end}\n" for split in rows)
    tags = "- selves\n" + (f"- trl\n- {wanted.format}\n" if wanted.format in _TRAINERS else "")
    return f"---\ntags:\n{tags}configs:\n- config_name: default\n  data_files:\n{files}---"


def _table(title: str, name: str, counts: Mapping[str, int], what: str = "rows") -> str:
    lines = "\n".join(f"| {_cell(one)} | {count:,} |" for one, count in counts.items())
    return f"## {title}\n\n| {name} | {what} |\n| --- | ---: |\n{lines}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _split_rule(wanted: Wanted) -> str:
    if not wanted.test_share:
        return "- There is one split."
    return (
        f"- Scenes are split, never rows: about {wanted.test_share:.0%} of them are put aside to test on.\n"
        "- Prompts to test on that are nearly the same as one to train on are left out."
    )


def _asked(wanted: Wanted) -> str:
    asked = {k: v for k, v in wanted.model_dump(mode="json").items() if v not in (None, False, 0.0, [])}
    return f"## What was asked for\n\n```json\n{json.dumps(asked, indent=2, ensure_ascii=False)}\n```"


def _load(wanted: Wanted, rows: Mapping[str, int]) -> str:
    if wanted.format == "dce" or not rows:
        return ""
    kind, end = ("parquet", "parquet") if wanted.parquet else ("json", "jsonl")
    files = ", ".join(f'"{split}": "data/{split}.{end}"' for split in rows)
    code = f'from datasets import load_dataset\n\nrows = load_dataset("{kind}", data_files={{{files}}})'
    trainer = _TRAINERS.get(wanted.format)
    after = f" TRL's `{trainer}` takes these columns as they are." if trainer else ""
    if wanted.format == "transcript":
        after = " A recipe's `[[corpus]]` reads `data/*.jsonl` as conversations."
    return f"## How to load\n\n```python\n{code}\n```\n\nRun it in this folder.{after}"
