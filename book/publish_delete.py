"""Taking what was published off the Hub again: a whole repository, or one revision of it.

Only what has a receipt here is deleted, and nothing before it was said. The receipt moves to `deleted.jsonl`
beside it, so that what is gone counts as published nowhere, and is not forgotten either.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from book.publish_cli import teller
from selves.errors import AgeError, HubError, UsageError
from selves.settings import House

if TYPE_CHECKING:
    from training.hub import Receipt

Found = list[tuple[Path, "Receipt"]]
"""Each with the folder that its receipt lies in."""


def publish_delete(options: Namespace, house: House) -> int:
    """Delete a repository or a revision on the Hub, or without `--yes` say what would be.

    Raises UsageError for what was not published from here, AgeError where an age would be lost, HubError.
    """
    from training.hub import Hub
    from training.receipts import move_to_deleted

    found = _found(house, options.repo, options.revision, options.kind)
    kind = found[0][1].kind
    what = f"{kind} {options.repo}" + (f", revision {options.revision}" if options.revision else "")
    _lose_nothing(house, found)
    if options.yes:
        hub = Hub()
        if elsewhere := {r.endpoint for _, r in found} - {hub.endpoint}:
            raise HubError(
                f"{options.repo} was published at {min(elsewhere)}, and this is {hub.endpoint}",
                f"HF_ENDPOINT={min(elsewhere)} selves publish delete ...",
            )
        hub.delete(options.repo, kind, options.revision)
        gone = [move_to_deleted(folder, receipt) for folder, receipt in found]
        shown = [receipt.model_dump(mode="json") for receipt in gone]
    else:
        shown = [receipt.model_dump(mode="json") | {"deleted_at": None} for _, receipt in found]
    if options.json:
        print(json.dumps(shown))
        return 0
    print(f"{what} {'is deleted' if options.yes else 'would be deleted'}:")
    for _, receipt in found:
        print(f"  {receipt.what:<28} {receipt.revision:<16} {receipt.commit[:12]}")
    tell = teller()
    if options.revision:
        tell("its weights may stand in main too, and the Hub keeps old commits for a while")
    if not options.yes:
        tell("nothing was deleted: the same with --yes does it, and it cannot be undone")
    return 0


def _found(house: House, repo: str, revision: str | None, kind: str | None) -> Found:
    """Return the receipts that are meant, all of one kind."""
    from training.receipts import read_receipts

    folders = [*sorted(path for path in house.checkpoints.glob("*") if path.is_dir()), house.home]
    there = [(folder, receipt) for folder in folders for receipt in read_receipts(folder)]
    meant = [one for one in there if one[1].repo == repo and kind in (None, one[1].kind)]
    if not meant:
        raise UsageError(f"nothing was published to {repo} from here", "`selves publish list` shows what was")
    if len(kinds := {receipt.kind for _, receipt in meant}) > 1:
        raise UsageError(f"{repo} is a {' and a '.join(sorted(kinds))}", f"say which: --kind {min(kinds)}")
    if revision is None:
        return meant
    if revision == "main":
        raise UsageError("no repository is without main", f"delete it whole: selves publish delete {repo}")
    known = sorted({receipt.revision for _, receipt in meant} - {"main"})
    if revision not in known:
        raise UsageError(
            f"{repo} has no revision {revision} from here",
            f"those there are: {', '.join(known) or 'main alone'}",
        )
    return [one for one in meant if one[1].revision == revision]


def _lose_nothing(house: House, found: Found) -> None:
    """Raise AgeError if an age is there and nowhere else."""
    from training.away import away

    for folder in {folder for folder, _ in found if folder != house.home}:
        only_there = away(folder).keys() & {receipt.what for _, receipt in found}
        if only_there:
            raise AgeError(
                f"{min(only_there)} is there alone, and would be lost",
                f"bring it back first: selves ages fetch {min(only_there)}",
            )
