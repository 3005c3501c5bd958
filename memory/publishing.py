"""What memory says before something goes to the Hub: what was called back, and what may be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from memory.export import Exported, exports
from memory.firewall import verdict
from memory.formats import OF_SCENES
from memory.hearsay import Hearsay
from memory.models import ExportItemRow, ExportRow
from memory.pages import PAGE
from memory.people import in_parts
from memory.traces import ages_that_read
from memory.wanted import to_item
from selves.errors import StoreError

if TYPE_CHECKING:
    from memory.store import Store


class CalledBack(NamedTuple):
    """What must not be shown any more, since words in it were taken back."""

    files: frozenset[str] = frozenset()
    """sha256 of every file of exports that are invalid, but of those that are in a valid one just so."""
    ages: frozenset[str] = frozenset()
    """Addresses of registered ages that read such a file, or grew from one that did."""


async def called_back(store: Store) -> CalledBack:
    """Return what was called back."""
    async with store.reading() as session:
        found = (await session.execute(select(ExportRow.id, ExportRow.files, ExportRow.invalid_at))).all()
        invalid = {row.id for row in found if row.invalid_at is not None}
        bad = {sha256 for row in found if row.id in invalid for sha256 in row.files.values()}
        # a style sheet, an empty part: what holds nobody's words is in others too
        good = {sha256 for row in found if row.id not in invalid for sha256 in row.files.values()}
        return CalledBack(
            frozenset(bad - good),
            frozenset(await ages_that_read(session, invalid)),
        )


async def publishable(store: Store, export_id: int) -> Exported:
    """Return an export if all of it may be shown to everybody.

    Consent to train is not consent to publish: of every line and sample, and of the prompts that go with
    samples, it is asked again. Raises StoreError if there is no such export, or if something may not.
    """
    found = next((one for one in await exports(store) if one.id == export_id), None)
    if found is None or found.format == PAGE:
        raise StoreError(f"there is no data set {export_id}", "`selves memory exports` lists them")
    if found.invalid_at is not None:
        raise StoreError(
            f"export {export_id} is invalid: {found.invalid_reason}",
            "make a new one with `selves memory export`",
        )
    refused: dict[str, int] = {}
    async with store.reading() as session:
        rows = await session.scalars(select(ExportItemRow).where(ExportItemRow.export_id == export_id))
        items = [to_item(row) for row in rows]
        hearsay = Hearsay(session)
        for part in in_parts(items):
            if found.format in OF_SCENES:
                shown = [item.message_id for item in part if item.message_id and not item.said("hidden")]
                facts = await hearsay.of_messages(shown)
            else:
                facts = await hearsay.of_generations([i for item in part for i in item.generation_ids])
            for fact in facts.values():
                allowed, reason = verdict("publish", fact)
                if not allowed:
                    refused[reason] = refused.get(reason, 0) + 1
    if refused:
        listed = "; ".join(f"{count} because {reason}" for reason, count in sorted(refused.items()))
        raise StoreError(
            f"export {export_id} may not be published: {listed}",
            "ask for consent (`selves memory consent`), or export what may be: --format transcript",
        )
    return found
