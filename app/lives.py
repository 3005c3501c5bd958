"""What is known of lineages from their files: curves, ages, results, kinship, space. No Streamlit here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import AgeError
from selves.lineage import METRICS_FILE, Age, AgeCard
from training.prune import PRUNED_FILE, remembered
from training.receipts import read_receipts, receipt_of
from training.traits.known import ask_again, beside_elders, reported
from training.traits.matrix import Matrix
from training.traits.results import read_traits
from training.traits.run import of_today

POINTS = 1500
"""So many points of a curve are drawn at most."""


class Space(NamedTuple):
    """What an age takes, and where it is."""

    address: str
    bytes: int
    where: str


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged while a lineage was trained, thinned out. Raises AgeError if it is damaged."""
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        # the last line may be half written while a training runs
    except ValueError:
        try:
            rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1] if line]
        except ValueError as error:
            raise AgeError(f"{path} is damaged: {error}", "delete it: only the curves are lost") from error
    every = -(-len(rows) // POINTS)
    return [row for n, row in enumerate(rows) if not every or n % every == 0 or row.get("bits_per_byte")]


def dots(rows: Sequence[dict[str, Any]], life: Sequence[Age]) -> list[dict[str, Any]]:
    """Return where each age stands on the loss curve (pure)."""
    placed = []
    for age in life:
        same = [row for row in rows if row["stage"] == age.address.stage]
        near = min(same, key=lambda row: abs(row["step"] - age.address.step), default=None)
        if near is not None:
            placed.append(
                {
                    "address": age.card.address,
                    "tokens": near["tokens"],
                    "loss": near["loss"],
                    "stage": age.address.stage,
                    "bits_per_byte": age.card.bits_per_byte,
                }
            )
    return placed


def kinship(ages: Sequence[Age]) -> str:
    """Return the family tree of lineages in the DOT language (pure)."""
    lineages = list(dict.fromkeys(age.address.lineage for age in ages))
    lines = [
        'digraph { rankdir=LR; bgcolor="transparent";',
        # readable on paper and in the dark
        'node [shape=box, style="rounded,filled", fontname="serif", color="#a4371e", fillcolor="#f4eee3",',
        'fontcolor="#25211c"];',
        'edge [fontname="serif", fontsize=10, color="#8a7a66", fontcolor="#8a7a66"];',
    ]
    for lineage in lineages:
        life = [age for age in ages if age.address.lineage == lineage]
        count = "one age" if len(life) == 1 else f"{len(life)} ages"
        count += "" if life[0].card.origin == "trained" else ", raised by others"
        lines.append(f'"{lineage}" [label="{lineage}\\n{count}"];')
    for parent, child in branches(ages):
        source = parent.partition("@")[0]
        lines.append(f'"{source}" -> "{child}" [label="{parent.partition("@")[2]}"];')
    return "\n".join([*lines, "}"])


def branches(ages: Sequence[Age]) -> list[tuple[str, str]]:
    """Return which lineage branched off from which age: (address, lineage) (pure)."""
    found = []
    for age in ages:
        parent = age.card.parent or age.card.adapter_of
        if parent and parent.partition("@")[0] != age.address.lineage:
            found.append((parent, age.address.lineage))
    return list(dict.fromkeys(found))


def family_of(lineage: str, ages: Sequence[Age]) -> list[Age]:
    """Return whom a lineage was raised from, its ages, and all that were raised from these (pure).

    In this order, and each lineage in order of life.
    """
    raised = branches(ages)
    elders = [parent for parent, child in raised if child == lineage]
    names = [lineage]
    for name in names:
        names += [c for p, c in raised if p.partition("@")[0] == name and c not in names]
    return [
        *(age for age in ages if age.card.address in elders and age.address.lineage not in names),
        *(age for name in names for age in ages if age.address.lineage == name),
    ]


def traits_of(selves: Sequence[Age], cards: Mapping[str, AgeCard]) -> tuple[Matrix, str, str]:
    """Return what selves were found to be, each beside whom it was raised from; and of what was asked
    otherwise than today the command that asks it again, and what cannot be found any more ("": nothing).

    `cards` are all there are, by address. Raises AgeError if a file of results is damaged.
    """
    found = {age.card.address: traits for age in selves if (traits := read_traits(age))}
    current, old = of_today(reported(found))
    names = list(dict.fromkeys(name for names in old.values() for name in names))
    return beside_elders(current, cards), *ask_again(list(old), names)


def space(checkpoints: Path, ages: Sequence[Age]) -> list[Space]:
    """Return what each age takes or took, and where it is: here, on the Hub, or let go.

    Raises AgeError or HubError when a record of that is damaged.
    """
    found = []
    for lineage in sorted(
        {age.address.lineage for age in ages} | {p.parent.name for p in _records(checkpoints)}
    ):
        receipts = read_receipts(checkpoints / lineage)
        gone = remembered(checkpoints / lineage)
        for age in ages:
            address = age.card.address
            if age.address.lineage == lineage and age.folder.parent.name == lineage:
                gone.pop(address, None)
                sent = receipt_of(receipts, address)
                where = f"here, and on the Hub: {sent.repo}" if sent else "here"
                size = sum(f.stat().st_size for f in age.folder.iterdir() if f.is_file())
                found.append(Space(address, size, where))
        for address, line in gone.items():
            away = (
                f"on the Hub: {line.receipt.repo}" if line.receipt else f"let go, {line.pruned_at:%d %B %Y}"
            )
            found.append(Space(address, line.bytes, away))
    return found


def _records(checkpoints: Path) -> list[Path]:
    return list(checkpoints.glob(f"*/{PRUNED_FILE}"))
