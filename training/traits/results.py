"""What was found of each self, by trait: home/checkpoints/LINEAGE/traits.json, and what it said beside it.

    {"format": 1, "ages": {"jest@dpo-000020": {"funny": Found, ...}}}

An age's folder never changes, so results lie beside it; the file is replaced whole after every trait.
Two processes that ask at once wait for each other and lose nothing.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from selves.errors import AgeError
from selves.files import disk_error, write_file
from selves.lineage import Age
from selves.speech import Frozen
from training.post.figures import Figure

TRAITS_FILE = "traits.json"
LOCK_FILE = ".traits.lock"
FORMAT = 1


class Found(Frozen):
    """One trait of one age."""

    version: str
    """Of the trait, with a hash of what it asked."""
    weights_sha256: str
    figures: tuple[Figure, ...]
    said: tuple[str, ...] = ()
    """What it said, where the trait lets it say something; in the order of the questions."""


Traits = dict[str, Found]


def read_traits(age: Age) -> Traits:
    """Return what is known of the weights that an age has now. Raises AgeError if the file is damaged."""
    return {
        name: found
        for name, found in _read(age.folder.parent).get(age.card.address, {}).items()
        if found.weights_sha256 == age.card.weights_sha256
    }


def keep_trait(age: Age, name: str, found: Found) -> None:
    """Add one trait, in place of an earlier one. Raises AgeError, DiskError."""
    lineage = age.folder.parent
    with _alone(lineage):
        known = _read(lineage)
        known.setdefault(age.card.address, {})[name] = found
        ages = {
            address: {trait: one.model_dump(mode="json") for trait, one in traits.items()}
            for address, traits in known.items()
        }
        data = json.dumps({"format": FORMAT, "ages": ages}, indent=1, ensure_ascii=False) + "\n"
        write_file(lineage / TRAITS_FILE, data)


@contextmanager
def _alone(lineage: Path) -> Iterator[None]:
    """Hold the lock of a lineage's traits; the kernel drops it with the process."""
    path = lineage / LOCK_FILE
    try:
        file = path.open("a")
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(lineage: Path) -> dict[str, Traits]:
    path = lineage / TRAITS_FILE
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["format"] != FORMAT:
            raise AgeError(f"{path} is of format {data['format']}, known is {FORMAT}", "delete it, or update")
        return {
            address: {name: Found.model_validate(one) for name, one in traits.items()}
            for address, traits in data["ages"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise AgeError(f"{path} is damaged: {error}", "delete it and ask again") from error
