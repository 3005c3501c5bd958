"""The ages of a lineage on the Hub: one repository, a revision for each, a card in each.

    main            the newest age; its card tells of all; metrics, evals, and selves.json, which says whose
    base-000400     one age, as it lies in its folder, with its card

Whoever publishes again sends what is new and nothing twice. An age whose data set was called back, since
somebody whose words it held asked to be forgotten, is left out, and so is all that grew from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selves import markdown
from selves.errors import HubError
from selves.lineage import METRICS_FILE, Age, came_of, texts_in
from selves.speech import Writing
from training.cards import age_card, lineage_card
from training.evals.results import EVALS_FILE, read_results
from training.hub import MANIFEST, Hub, Parcel, Receipt, differences
from training.receipts import add_receipt, read_receipts, receipt_of
from training.words import folder_bytes

README = "README.md"
CHAPTER = "<!-- a chapter of "
"""How the card of a revision begins its text that a book wrote; publishing ages leaves such cards alone."""


class Planned(NamedTuple):
    """An age that is to be published."""

    age: Age
    bytes: int
    sent: Receipt | None
    """Proof that these weights are there already."""
    tells: tuple[str, ...]
    """Folders of this machine that its card names."""


def plan(ages: Sequence[Age], receipts: Sequence[Receipt], repo: str | None) -> list[Planned]:
    """Say of each age what publishing it would send; asks nobody."""
    planned = []
    for age in ages:
        known = receipt_of(receipts, age.card.address, repo)
        same = known is not None and known.files.get(age.weights_file) == age.card.weights_sha256
        said = texts_in([age.card.recipe, list(age.card.sources)])
        told = tuple(dict.fromkeys(filter(_names_a_folder, said)))
        planned.append(Planned(age, folder_bytes(age.folder), known if same else None, told))
    return planned


def _names_a_folder(text: str) -> bool:
    return text.startswith(("/", "~")) or text[1:3] == ":\\"


def called_back(ages: Sequence[Age], hashes: Collection[str], known: Collection[str] = ()) -> set[str]:
    """Return the addresses of ages that read a file with one of these sha256, or came of one that did.

    `known` are addresses of which that is known already, perhaps of ages that are gone.
    """
    cards = (age.card.model_dump(mode="json") for age in ages)
    return {*came_of(cards, frozenset(hashes), known), *known}


def publish_ages(
    hub: Hub,
    ages: Sequence[Age],
    repo: str,
    *,
    family: Sequence[Age],
    gone: Collection[str] = (),
    withheld: Collection[tuple[str, str, int]] = (),
    public: bool,
    tell: Callable[[str], object],
) -> list[Receipt]:
    """Send ages of one lineage, in order of life, and then what is common to them; return the receipts.

    `family` are all ages of the lineage that may be published, those that are away too, so that `main` is the
    newest that is there and its card tells of all but those that are `gone`, by address: called back.

    What ages wrote and what is `withheld`, by address, kind and number, is in no card.

    Each receipt is kept as soon as its revision is verified. Raises HubError, AgeError if an age is damaged.
    """
    folder = ages[0].folder.parent
    lineage = ages[0].address.lineage
    if hub.claim(repo, "model", public=public):
        tell(f"made {repo}, {'public' if public else 'private'}")
    manifest = _manifest(hub, repo, ages, lineage)
    results = read_results(folder)
    receipts = []
    for age in ages:
        age.verify()
        files: dict[str, Path | bytes] = dict(_files(age))
        writings, evals = shown(age, withheld), results.get(age.card.address, {})
        if kept := sum(address == age.card.address for address, _, _ in withheld):
            tell(f"{age.card.address}: its diary.jsonl has {kept} texts that may not be shown, and goes too")
        revision = age.address.age
        chapter = _chapter(hub, repo, revision)
        receipt = _is_there(hub, repo, age, files) if chapter else None
        if receipt is None:
            if README not in files and chapter is None:
                files[README] = age_card(age, repo, hub.endpoint, writings, evals).encode()
            title = f"{age.card.address}"
            letter = markdown.shown(next((w.utterance.text for w in writings if w.kind == "letter"), ""))
            receipt = hub.send(Parcel(repo, "model", revision, files, title, letter[:4000]), title)
            add_receipt(folder, receipt)
            if chapter is not None:  # its receipt has the README of the age; its reader sees the chapter
                hub.send(Parcel(repo, "model", revision, {README: chapter}, title), title)
        receipts.append(receipt)
        tell(f"{age.card.address}  {receipt.bytes / 1e6:,.1f} MB  {repo} {revision} {receipt.commit[:12]}")
        known = {"revision": revision, "commit": receipt.commit, "weights_sha256": age.card.weights_sha256}
        manifest["ages"].setdefault(age.card.address, known)  # the commit with its chapter is another
    here = [age for age in family if age.card.address in manifest["ages"]]
    _send_main(hub, repo, here, gone, withheld, manifest, results)
    return receipts


def _send_main(
    hub: Hub,
    repo: str,
    ages: Sequence[Age],
    gone: Collection[str],
    withheld: Collection[tuple[str, str, int]],
    manifest: Mapping[str, Any],
    results: Mapping[str, Any],
) -> None:
    newest = next(age for age in reversed(ages) if (age.folder / age.weights_file).exists())
    folder = newest.lineage_folder
    files: dict[str, Path | bytes] = {name: path for name, path in _files(newest) if name != README}
    files |= {name: folder / name for name in (METRICS_FILE, EVALS_FILE) if (folder / name).exists()}
    before, manifest = sent_before(manifest), {**manifest, "files": sorted(files)}
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    if _chapter(hub, repo, "main") is None:
        here = {age.card.address for age in ages} | set(gone)
        away = [known["revision"] for address, known in manifest["ages"].items() if address not in here]
        first = {age.card.address: shown(age, withheld) for age in ages}
        files[README] = lineage_card(ages, away, repo, results, first).encode()
    title = f"{newest.address.lineage} is {newest.address.age}"
    hub.send(Parcel(repo, "model", "main", files, title, "", before), newest.address.lineage)


def shown(age: Age, withheld: Collection[tuple[str, str, int]]) -> list[Writing]:
    """Return what an age wrote of its own accord and everybody may read."""
    return [
        w
        for w in age.writings()
        if (age.card.address, w.kind, w.number) not in withheld and not w.utterance.prompt.has_human
    ]


def _files(age: Age) -> Iterator[tuple[str, Path]]:
    for path in sorted(age.folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield path.name, path


def _chapter(hub: Hub, repo: str, revision: str) -> bytes | None:
    """Return the card of a revision if a book wrote it."""
    card = hub.read(repo, "model", README, revision)
    return card if card is not None and CHAPTER.encode() in card else None


def _is_there(hub: Hub, repo: str, age: Age, files: Mapping[str, Path | bytes]) -> Receipt | None:
    """Return proof that all files of an age are in a commit, beneath a chapter that came later."""
    known = receipt_of(read_receipts(age.lineage_folder), age.card.address, repo)
    if known is None or files.keys() - known.files.keys():
        return None
    try:
        return None if differences(files, hub.tree(repo, "model", known.commit)) else known
    except HubError:  # its commit is gone; sending it again says whether the Hub is there
        return None


def _manifest(hub: Hub, repo: str, ages: Sequence[Age], lineage: str) -> dict[str, Any]:
    """Return what the repository says it holds. Raises HubError if that is another's, or another life."""
    there = read_manifest(hub, repo, "model", "ages")
    if there is None:
        return {"made_by": "selves", "kind": "ages", "lineage": lineage, "ages": {}}
    known = there.get("ages", {})
    other = [
        a.card.address
        for a in ages
        if known.get(a.card.address, {}).get("weights_sha256", a.card.weights_sha256) != a.card.weights_sha256
    ]
    if there.get("lineage") != lineage or other:
        what = f"another {other[0]}" if other else f"the lineage {there.get('lineage')}"
        raise HubError(f"{repo} holds {what} already", "choose another name: --to NAMESPACE/NAME")
    return dict(there) | {"ages": dict(known)}


def read_manifest(hub: Hub, repo: str, kind: Any, made: str) -> dict[str, Any] | None:
    """Return selves.json of a repository, None if it is empty. Raises HubError if something else is there."""
    data = hub.read(repo, kind, MANIFEST)
    if data is None:
        if not hub.is_new(repo, kind):
            foreign = min(hub.tree(repo, kind, "main").keys() - {README})
            raise HubError(
                f"the name {repo} is taken: it holds {foreign} and was not made by selves",
                "choose another name: --to NAMESPACE/NAME",
            )
        return None
    try:
        said = json.loads(data)
        right = said["kind"] == made
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise HubError(f"the name {repo} is taken: it holds no {made}", "choose another: --to NAMESPACE/NAME")
    return dict(said)


def sent_before(manifest: Mapping[str, Any]) -> frozenset[str]:
    """Return what `main` holds of us, as selves.json says; anything else there is its owner's."""
    return frozenset(map(str, manifest.get("files", ())))
