"""What is known of selves as it is reported: each beside whom it was raised from, and how to ask again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selves.errors import UsageError
from selves.lineage import AgeCard
from training.traits.matrix import Matrix, compared, elders
from training.traits.probes import TRAITS
from training.traits.results import Traits
from training.traits.run import find_trait

CHOOSING = "training.traits.choosing:"


def reported(known: Mapping[str, Traits], wanted: Sequence[str] | None = None) -> dict[str, Traits]:
    """Return the traits that are wanted, in that order; else the house's and then one's own, but none by
    which settings are chosen: they are not to be reported. Raises UsageError for one that nobody was asked.
    """
    there = dict.fromkeys(name for traits in known.values() for name in traits)
    for name in wanted or ():
        if name not in there:
            asking = f"; to ask it: selves train traits run {' '.join(known)} --trait {name}"
            fix = f"known: {', '.join(there)}{asking if name in TRAITS else ''}"
            raise UsageError(f"nobody was asked {name!r}", fix)
    own = [name for name in there if name not in TRAITS and not name.startswith(CHOOSING)]
    names = wanted or [*TRAITS, *own]
    chosen = {who: {n: traits[n] for n in names if n in traits} for who, traits in known.items()}
    return {who: traits for who, traits in chosen.items() if traits}


def beside_elders(known: Mapping[str, Traits], cards: Mapping[str, AgeCard]) -> Matrix:
    """Return the first figures of selves, each beside that of whom it was raised from (pure).

    `cards` are all there are, by address.
    """
    first = {who: {name: found.figures[0] for name, found in traits.items()} for who, traits in known.items()}
    return compared(first, elders(list(first), cards) if first else {})


def ask_again(who: Sequence[str], names: Sequence[str]) -> tuple[str, str]:
    """Return the command that asks traits again, and which cannot be found from here; "" for none."""
    gone = [name for name in names if not _is_there(name)]
    there = [name for name in names if name not in gone]
    # without --trait all of the house's are asked, and none of one's own
    named = () if TRAITS.keys() >= set(there) else (part for name in there for part in ("--trait", name))
    command = " ".join(["selves train traits run", *who, *named]) if there else ""
    return command, f"not to be found from here: {', '.join(gone)}" if gone else ""


def _is_there(name: str) -> bool:
    try:
        find_trait(name)
    except UsageError:
        return False
    return True
