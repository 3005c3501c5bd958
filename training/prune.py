"""Letting ages go, to free space: which stay and why, and the line of memory that each leaves behind.

    home/checkpoints/LINEAGE/pruned.jsonl     one Pruned per line: address, when, size, first words
    home/checkpoints/LINEAGE/.away/AGE/       of one that is on the Hub: all of it but the weights

What is remembered there counts as made: training a pruned lineage on does not make those ages again.
The choosing is pure; only `remove` touches the disk.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from selves.errors import AgeError
from selves.files import PARTIAL_PREFIX, disk_error, new_folder, write_file
from selves.lineage import AWAY_FOLDER, Age
from selves.speech import Frozen
from training.hub import Receipt
from training.words import first_words, folder_bytes

PRUNED_FILE = "pruned.jsonl"


class Pruned(Frozen):
    """What is left of an age that was let go."""

    address: str
    pruned_at: datetime
    bytes: int
    """What its folder took on disk."""
    tokens_seen: int = 0
    bits_per_byte: float | None = None
    weights_sha256: str
    first_words: str = ""
    """How it continued the text that all ages continue."""
    receipt: Receipt | None = None
    """Where it is on the Hub, if it went only after it was verified there."""


class Choice(NamedTuple):
    """What pruning would do to one lineage."""

    go: tuple[Age, ...]
    stay: tuple[Age, ...]
    protected: Mapping[str, str]
    """Address -> why it stays although it was to go (or goes although there is a reason, if forced)."""


def choose(ages: Sequence[Age], wished: frozenset[str], needed: Mapping[str, str], *, force: bool) -> Choice:
    """Let the wished ages go, except those that are needed, unless forced."""
    held = {address: why for address, why in needed.items() if address in wished}
    gone = wished if force else wished - held.keys()
    return Choice(
        go=tuple(age for age in ages if age.card.address in gone),
        stay=tuple(age for age in ages if age.card.address not in gone),
        protected=held,
    )


def all_but(ages: Sequence[Age], keep: int) -> frozenset[str]:
    """Return the addresses that go when the newborn, the newest of each stage and `keep` between them stay.

    `ages` are one lineage's in order of life. Of each stage, those that stay in between are spread evenly
    over the logarithm of the step.
    """
    stages: dict[str, list[Age]] = {}
    for age in ages:
        stages.setdefault(age.address.stage, []).append(age)
    staying = {ages[0].card.address} if ages else set()
    for members in stages.values():
        newest = members[-1]
        staying.add(newest.card.address)
        between = [age for age in members[:-1] if age.card.address not in staying and age.address.step > 0]
        picked = spread([age.address.step for age in between], newest.address.step, keep)
        staying |= {between[n].card.address for n in picked}
    return frozenset(age.card.address for age in ages) - staying


def spread(steps: Sequence[int], end: int, count: int) -> list[int]:
    """Return the positions of `count` of the ascending positive `steps`, spread evenly by logarithm to `end`.

    The range is cut into `count` equal parts; the step nearest to the middle of each is taken.
    """
    if count >= len(steps):
        return list(range(len(steps)))
    free = set(range(len(steps)))
    low = math.log(steps[0])
    for part in range(count):
        middle = low + (math.log(end) - low) * (part + 0.5) / count
        free.remove(min(sorted(free), key=lambda n: abs(math.log(steps[n]) - middle)))
    return [n for n in range(len(steps)) if n not in free]


def needed_by(
    ages: Iterable[Age],
    all_ages: Iterable[Age],
    running: Iterable[Mapping[str, object]],
    cast: Mapping[str, str],
    going_on: Mapping[str, str],
) -> dict[str, str]:
    """Return address -> reason for each of a lineage's `ages` that something else needs.

    `running` are the recipes of training states on disk; `cast` maps addresses to who bears them, `going_on`
    to a run of post-training that names them and has not come to its end.
    """
    reasons: dict[str, list[str]] = {}
    newest = {age.address.stage: age.card.address for age in ages if age.card.origin == "trained"}
    for stage, address in newest.items():
        reasons.setdefault(address, []).append(f"it is the newest of {stage}; training goes on from it")
    all_ages = list(all_ages)
    recipes = [age.card.recipe for age in all_ages] + list(running)
    heirs: dict[str, set[str]] = {}
    for recipe in recipes:
        parent, heir = recipe.get("parent"), recipe.get("lineage")
        if isinstance(parent, str) and parent:
            heirs.setdefault(parent, set()).add(str(heir))
    for parent, names in sorted(heirs.items()):
        reasons.setdefault(parent, []).append(f"{', '.join(sorted(names))} was raised from it")
    for age in all_ages:
        if age.card.adapter_of is not None:
            reasons.setdefault(age.card.adapter_of, []).append(f"{age.card.address} is an adapter on it")
    for address, run in going_on.items():
        reasons.setdefault(address, []).append(f"{run} is not finished, and goes on by it")
    for address, name in cast.items():
        reasons.setdefault(address, []).append(f"{name} of the cast is this age")
    return {address: "; ".join(why) for address, why in reasons.items()}


def remembered(lineage_folder: Path) -> dict[str, Pruned]:
    """Return what is remembered of ages that were let go, by address. Raises AgeError if it is damaged."""
    path = lineage_folder / PRUNED_FILE
    if not path.exists():
        return {}
    try:
        lines = [Pruned.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]
    except (ValidationError, UnicodeDecodeError) as error:
        raise AgeError(f"{path} is damaged: {error}", "repair or delete the line") from error
    return {line.address: line for line in lines}


def pruned(lineage_folder: Path) -> frozenset[str]:
    """Return the addresses of a lineage's ages that were let go. Raises AgeError if the record is damaged."""
    return frozenset(
        address
        for address in remembered(lineage_folder)
        if not (lineage_folder / address.rpartition("@")[2]).exists()  # a kill came between line and removal
    )


def remember(age: Age, receipt: Receipt | None = None) -> Pruned:
    """Return the line that an age leaves behind."""
    return Pruned(
        address=age.card.address,
        pruned_at=datetime.now(UTC),
        bytes=folder_bytes(age.folder),
        tokens_seen=age.card.tokens_seen,
        bits_per_byte=age.card.bits_per_byte,
        weights_sha256=age.card.weights_sha256,
        first_words=first_words(age),
        receipt=receipt,
    )


def remove(age: Age, receipt: Receipt | None = None) -> Pruned:
    """Remember an age and delete its folder; with a receipt, leave all but its weights. Raises DiskError.

    The caller holds the lineage's lock. Killed at any moment, the age is either still whole or off the
    list, and never gone without a line of memory.
    """
    parent = age.folder.parent
    line = remember(age, receipt)
    if receipt is not None:
        _leave_stub(age)
    lines = remembered(parent) | {line.address: line}
    write_file(parent / PRUNED_FILE, "".join(f"{kept.model_dump_json()}\n" for kept in lines.values()))
    try:
        gone = age.folder.rename(parent / f"{PARTIAL_PREFIX}gone-{age.folder.name}")
        shutil.rmtree(gone)
    except OSError as error:
        raise disk_error(error, age.folder) from error
    return line


def _leave_stub(age: Age) -> None:
    place = age.folder.parent / AWAY_FOLDER / age.folder.name
    shutil.rmtree(place, ignore_errors=True)  # of an age that had this name before
    with new_folder(place) as stub:
        for path in sorted(age.folder.iterdir()):
            if path.is_file() and path.name != age.weights_file:
                shutil.copyfile(path, stub / path.name)
