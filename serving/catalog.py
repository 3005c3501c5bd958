"""Which ages there are right now. New ones appear without a restart."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

from selves.errors import AgeError
from selves.files import sha256_text
from selves.lineage import CARD_FILE, Age, list_ages, read_age
from serving.wire import ApiError

log = logging.getLogger(__name__)

SHOWN = 8
"""So many ages are named to whoever asked for one that is not there, if none has a name like it."""


def house_id(checkpoints: Path) -> str:
    """Return what tells one checkpoints folder from another, without saying where it is."""
    return sha256_text(str(checkpoints.resolve()))[:16]


class Catalog:
    """The ages under one checkpoints folder, or only some of them."""

    def __init__(self, checkpoints: Path, *, only: Collection[str] | None = None) -> None:
        self._checkpoints = checkpoints
        self._only = only
        self._seen: dict[Path, int] | None = None
        self._ages: dict[str, Age] = {}

    def ages(self) -> dict[str, Age]:
        """Return address -> age. Reads cards only when one has come, gone or changed."""
        seen = {
            folder: _changed_at(folder)
            for lineage in _folders(self._checkpoints)
            for folder in _folders(lineage)
        }
        if seen != self._seen:
            ages = {age.card.address: age for age in _read_all(self._checkpoints)}
            self._ages = {k: v for k, v in ages.items() if self._only is None or k in self._only}
            self._seen = seen
        return self._ages

    def unplaced(self, words: str) -> str:
        """Return what is said of ages without where they lie: `ember/base-000400/age.json` (pure)."""
        return words.replace(f"{self._checkpoints}/", "").replace(str(self._checkpoints), "this house")

    def find(self, address: str) -> Age:
        """Return the age at an address. Raises ApiError (404) that names near ones."""
        ages = self.ages()
        if address in ages:
            return ages[address]
        address = address[:200]  # nobody's name is longer, and all of it is said again below
        raise ApiError(
            404,
            f"the model {address!r} does not exist; {_who_is_there(list(ages), address)}",
            kind="not_found_error",
            param="model",
            code="model_not_found",
        )


def _who_is_there(addresses: Sequence[str], missed: str) -> str:
    near = get_close_matches(missed, addresses, n=3, cutoff=0.5) or addresses[:SHOWN]
    if not near:
        return "no age has been made yet"
    more = len(addresses) - len(near)
    return f"there are: {', '.join(near)}{f', and {more} more: GET /v1/models lists all' if more else ''}"


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # not made yet, or removed while we looked
        return []


def _changed_at(folder: Path) -> int:
    try:
        return (folder / CARD_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def _read_all(checkpoints: Path) -> list[Age]:
    """Read every card; one that is damaged costs its own age only."""
    try:
        return list_ages(checkpoints)
    except AgeError:
        ages = []
        for folder in (folder for lineage in _folders(checkpoints) for folder in _folders(lineage)):
            try:
                ages.append(read_age(folder))
            except AgeError as error:
                log.warning("left out: %s", error.problem)
        return sorted(ages, key=lambda age: (age.address.lineage, age.card.created_at, age.card.address))
