"""All that is asked of a built book before anybody relies on it: its words, figures, files, and its standing.

It stands if memory recorded just this manuscript when it was built, since only then whoever is forgotten
calls it back; if it was not called back; and if none of its ages learned from what was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from book.manuscript import Manuscript, read_manuscript
from book.verify import Checked, check_figures, check_files, check_frame, verify
from memory.export import Exported, exports
from memory.passages import Material, read_material
from memory.publishing import called_back
from memory.store import Store, open_store
from selves.files import sha256_file
from selves.lineage import Age, list_ages
from selves.settings import House
from training import publish


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found."""

    manuscript: Manuscript
    material: Material
    checked: list[Checked]
    """Every passage."""
    others: list[str]
    """What is wrong with the book beside its passages."""
    called_back: frozenset[str]
    """Addresses of ages that learned from what was called back."""

    @property
    def problems(self) -> list[str]:
        return [f"{one.where}: {problem}" for one in self.checked for problem in one.problems] + self.others


async def prove(house: House, path: Path) -> Proof:
    """Check the book whose manuscript is at `path`. Raises UsageError, and StoreError without a memory."""
    manuscript = read_manuscript(path)
    sources = [passage.source for passage in manuscript.passages()]
    async with open_store(house.database_url, create=False) as store:
        material = await read_material(
            store,
            samples={s.generation_id for s in sources if s.generation_id is not None},
            lines={s.message_id for s in sources if s.message_id is not None},
        )
        recorded = await exports(store)
        everybody = list_ages(house.checkpoints, away=True)
        gone = await who_learned(store, everybody)
    own = [age for age in everybody if age.address.lineage == manuscript.lineage]
    others = stands(sha256_file(path), recorded)
    others += taught(manuscript, gone)
    others += check_frame(manuscript, material, own) + check_figures(manuscript, material)
    others += check_files(path.parent, manuscript)
    return Proof(manuscript, material, verify(manuscript, material), others, gone)


async def who_learned(store: Store, everybody: Sequence[Age]) -> frozenset[str]:
    """Return the addresses of ages that learned from what was called back; `everybody` are all ages."""
    back = await called_back(store)
    return frozenset(publish.called_back(everybody, back.files, back.ages))


def stands(sha256: str, recorded: Collection[Exported]) -> list[str]:
    """Return what keeps a manuscript with this hash from standing (pure)."""
    found = [one for one in recorded if sha256 in one.files.values()]
    if not found:
        return ["the manuscript is not as it was when the book was built: memory has no record of it"]
    if any(one.invalid_at is None for one in found):
        return []
    return [f"the book was called back: {found[-1].invalid_reason}"]


def taught(manuscript: Manuscript, gone: Collection[str]) -> list[str]:
    """Name the ages of a book that learned from what was called back (pure)."""
    named = {passage.source.address for passage in manuscript.passages()}
    named |= {chapter.opener.address for chapter in manuscript.chapters if chapter.opener}
    return [f"{address} learned from what was called back since" for address in sorted(named & set(gone))]  # type: ignore[type-var]
