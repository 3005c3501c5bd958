"""`selves ages diff` and `selves ages prune`: what they print, ask and do."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from selves.cast import load_cast_or_empty
from selves.errors import AgeError, UsageError
from selves.lineage import LINEAGE_PATTERN, Address, Age, find_age, list_ages
from selves.settings import House
from training import away
from training import prune as pruning
from training.checkpoint import only_trainer, read_progress
from training.compare import Comparison, Words, compare
from training.hub import Hub
from training.words import folder_bytes, printable

FACTS = {
    "stage": "stage",
    "step": "step",
    "parent": "parent",
    "form": "spoken to as",
    "architecture": "architecture",
    "parameters": "parameters",
    "context_tokens": "context, tokens",
    "tokens_seen": "tokens seen",
    "train_loss": "loss, nats per token",
    "bits_per_byte": "bits per byte",
}


def diff(options: argparse.Namespace, house: House) -> None:
    """Print what differs between two ages."""
    found = compare(*(find_age(house.checkpoints, address) for address in (options.a, options.b)))
    if options.json:
        print(json.dumps(found.model_dump(mode="json"), ensure_ascii=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print(_facts(found))
    console.print("\nrecipe", style="bold")
    for line in found.recipe or ("  no key differs" if _trained(found) else "  an imported age has none",):
        console.print(f"  {line.strip()}")
    console.print("\nweights", style="bold")
    if found.incomparable:
        console.print(f"  not compared: {found.incomparable}")
    else:
        console.print(_weights(found))
    for words in found.words:
        console.print(f"\n{words.kind}" + (f" {words.number}" if words.number else ""), style="bold")
        console.print(_side_by_side(words, found))


def _trained(found: Comparison) -> bool:
    return found.a["stage"] != "import" and found.b["stage"] != "import"


def _facts(found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", found.a["address"], found.b["address"], ""):
        table.add_column(title, overflow="fold")
    for key, title in FACTS.items():
        a, b = found.a[key], found.b[key]
        if a is not None or b is not None:
            table.add_row(title, _number(a), _number(b), _moved(key, a, b))
    return table


def _moved(key: str, a: Any, b: Any) -> str:
    """Say what changed of a fact, in a few characters."""
    if a == b:
        return "same"
    if key in ("parent", "stage", "form", "architecture") or a is None or b is None:
        return ""
    return f"{b - a:+,}" if isinstance(a, int) and isinstance(b, int) else f"{b - a:+.3f}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _weights(found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("  part")
    for title in ("layer", "parameters", "change", "cosine"):
        table.add_column(title, justify="right")
    for change in found.weights:
        table.add_row(
            f"  {change.part}",
            "" if change.layer is None else str(change.layer),
            f"{change.parameters:,}",
            "from zero" if change.relative is None else f"{change.relative:.1%}",
            "" if change.cosine is None else f"{change.cosine:.3f}",
        )
    return table


def _side_by_side(words: Words, found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for address, asked in ((found.a["address"], words.asked_a), (found.b["address"], words.asked_b)):
        table.add_column(f"{address}: {printable(asked)}" if asked is not None else address, ratio=1)
    table.add_row(*(printable(said) if said is not None else "(nothing)" for said in (words.a, words.b)))
    return table


def prune(options: argparse.Namespace, house: House) -> None:
    """Let ages go, after showing which and asking."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    lineage, wished = _wished(options, house)
    with only_trainer(house.checkpoints / lineage):
        ages = list_ages(house.checkpoints, lineage)
        if options.keep is not None:
            wished = pruning.all_but(ages, options.keep)
        needed = pruning.needed_by(
            ages, list_ages(house.checkpoints), _running(house), _cast(house), _going_on(house)
        )
        choice = pruning.choose(ages, wished, needed, force=options.force)
        if choice.protected and options.keep is None and not options.force:
            listed = "\n  ".join(f"{address}: {why}" for address, why in choice.protected.items())
            raise UsageError(f"these are needed:\n  {listed}", "leave them out, or let them go with --force")
        freed = sum(folder_bytes(age.folder) for age in choice.go)
        _show_choice(ages, choice, needed, freed, console)
        receipts = away.receipts_for(choice.go) if options.on_hub else {}
        go = choice.go and not options.dry_run and _agreed(options, len(choice.go), freed)
        hub = Hub() if go and options.on_hub else None
        for age in choice.go if go else ():
            receipt = receipts.get(age.card.address)
            if hub is not None and receipt is not None:
                away.check(hub, age, receipt, read_back=options.read_back)
            pruning.remove(age, receipt)
            gone = f"is away: {receipt.repo}, revision {receipt.revision}" if receipt else "is gone"
            console.print(f"{age.card.address} {gone}")
    if options.json:
        said = {
            "go": [age.card.address for age in choice.go],
            "stay": [age.card.address for age in choice.stay],
            "bytes": freed,
            "done": bool(go),
        }
        print(json.dumps(said))


def fetch(options: argparse.Namespace, house: House) -> None:
    """Bring ages back from the Hub."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    addresses = [Address.parse(address) for address in options.addresses]
    hub, back = Hub(), []
    for address in addresses:
        if not (house.checkpoints / address.lineage).is_dir():
            raise AgeError(
                f"there is no lineage {address.lineage} in {house.checkpoints}", "selves ages list"
            )
        with only_trainer(house.checkpoints / address.lineage):
            back.append(away.bring_back(hub, house.checkpoints, str(address)))
        console.print(f"{address} is here, and every file is what was written")
    if options.json:
        print(json.dumps([age.card.address for age in back]))


def _wished(options: argparse.Namespace, house: House) -> tuple[str, frozenset[str]]:
    """Return the lineage and, if ages are named, which; raise UsageError for what is neither."""
    names: Sequence[str] = options.what
    if len(names) == 1 and re.fullmatch(LINEAGE_PATTERN, names[0]):
        if options.keep is None:
            raise UsageError(
                f"which ages of {names[0]}?",
                f"say how many stay in between, `--keep 3`, or name them: {names[0]}@base-000012",
            )
        if not list_ages(house.checkpoints, names[0]):
            raise AgeError(f"there is no lineage {names[0]} in {house.checkpoints}", "selves ages list")
        return names[0], frozenset()
    if options.keep is not None:
        raise UsageError("--keep goes with one lineage, not with addresses", "for example: --keep 3 ember")
    addresses = [find_age(house.checkpoints, name).address for name in names]
    lineages = {address.lineage for address in addresses}
    if len(lineages) > 1:
        raise UsageError(
            f"these are of several lineages: {', '.join(sorted(lineages))}", "prune one at a time"
        )
    return lineages.pop(), frozenset(map(str, addresses))


def _running(house: House) -> list[Mapping[str, object]]:
    """Return the recipes of all training states on disk."""
    folders = [path for path in house.checkpoints.iterdir() if path.is_dir()]
    return [progress.recipe for folder in folders if (progress := read_progress(folder)) is not None]


def _going_on(house: House) -> dict[str, str]:
    """Return address -> the run of post-training, here or in a round of the loop, that needs it."""
    from training.post.resume import unfinished

    places = [house.checkpoints, *(house.home / "loops").glob("*/*/*/checkpoints")]
    return {
        address: f"{recipe.lineage}'s {recipe.stage_name}"
        for place in places
        for recipe in unfinished(place)
        for address in recipe.addresses
    }


def _cast(house: House) -> dict[str, str]:
    cast = load_cast_or_empty(house.cast_path)
    return {persona.address: persona.name for persona in cast.persona} if cast else {}


def _show_choice(
    ages: Sequence[Age], choice: pruning.Choice, needed: Mapping[str, str], freed: int, console: Console
) -> None:
    for age in ages:
        stays, why = age in choice.stay, needed.get(age.card.address, "")
        note = f"  {'' if stays else 'although '}{why}" if why else ""
        size = folder_bytes(age.folder) / 1e6
        console.print(f"{'stays' if stays else 'goes':<6} {age.card.address:<28} {size:>8.1f} MB{note}")
    if choice.go:
        console.print(f"{len(choice.go)} of {len(ages)} go and free {freed / 1e6:.1f} MB")
    else:
        console.print("nothing to let go")


def _agreed(options: argparse.Namespace, count: int, freed: int) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked", "add --yes, or look first with --dry-run")
    print(
        f"let {count} go{'' if options.on_hub else ' for good'} and free {freed / 1e6:.1f} MB? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")
