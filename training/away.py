"""Ages that are on the Hub and not here: checked before they go, and brought back when they are asked for.

An age goes only if every file of it here is, byte for byte, in a commit that its receipt names.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from selves.errors import AgeError, HubError
from selves.files import PARTIAL_PREFIX, disk_error, new_folder
from selves.lineage import AWAY_FOLDER, CARD_FILE, Address, Age, read_age
from training.hub import Hub, Receipt
from training.prune import Pruned, remembered
from training.receipts import read_receipts, receipt_of


def receipts_for(ages: Sequence[Age]) -> dict[str, Receipt]:
    """Return address -> receipt of ages of one lineage. Raises HubError naming those that have none."""
    if not ages:
        return {}
    known = read_receipts(ages[0].folder.parent)
    found = {age.card.address: receipt_of(known, age.card.address) for age in ages}
    if missing := [address for address, receipt in found.items() if receipt is None]:
        raise HubError(
            f"these were not published: {', '.join(missing)}",
            f"`selves publish ages {ages[0].address.lineage}` first; nothing was deleted",
        )
    return {address: receipt for address, receipt in found.items() if receipt is not None}


def check(hub: Hub, age: Age, receipt: Receipt, *, read_back: bool) -> None:
    """See that the Hub has every file of an age as it is here. Raises HubError or AgeError if not.

    `read_back` fetches all of it and compares the bytes themselves, not only what the Hub says of them.
    """
    age.verify()
    here = sorted(age.folder.iterdir())
    if foreign := next((path for path in here if not path.is_file() or path.name[0] == "."), None):
        raise AgeError(
            f"{foreign} is no file of the age, and was not sent with it",
            "nothing was deleted; move it somewhere else first",
        )
    hub.verify(receipt, {path.name: path for path in here})
    try:
        for path in here if read_back else ():  # one after the other: who makes room has little
            with TemporaryDirectory(prefix=f"{PARTIAL_PREFIX}read-back-", dir=age.folder.parent) as place:
                hub.fetch(receipt, path.name, Path(place))
    except OSError as error:
        raise disk_error(error, age.folder.parent) from error


def away(lineage_folder: Path) -> dict[str, Pruned]:
    """Return the ages of a lineage that are on the Hub and not here, by address."""
    return {
        address: line
        for address, line in remembered(lineage_folder).items()
        if line.receipt is not None and not (lineage_folder / Address.parse(address).age / CARD_FILE).exists()
    }


def bring_back(hub: Hub, checkpoints: Path, address: str) -> Age:
    """Fetch an age that went to the Hub, whole and verified. Raises HubError, AgeError or DiskError.

    What came before a connection was cut is not fetched again.
    """
    parsed = Address.parse(address)
    parent = checkpoints / parsed.lineage
    if (parent / parsed.age / CARD_FILE).exists():
        return read_age(parent / parsed.age)
    line = away(parent).get(address)
    if line is None or line.receipt is None:
        known = ", ".join(away(parent)) or "none of this lineage"
        raise AgeError(f"{address} is not away on the Hub", f"those that are: {known}")
    receipt = line.receipt
    stub = parent / AWAY_FOLDER / parsed.age
    card = read_age(stub).card if (stub / CARD_FILE).exists() else None
    # the card on the Hub is for readers; what the age is made of is named in its own
    wanted = {CARD_FILE, *(card.files if card else receipt.files)} & receipt.files.keys()
    wanted |= {name for name in receipt.files if name.endswith("model.safetensors")}
    try:
        stub.mkdir(parents=True, exist_ok=True)
        for name in sorted(wanted):
            hub.fetch(receipt, name, stub)
        shutil.rmtree(stub / ".cache", ignore_errors=True)  # what huggingface_hub notes beside its downloads
        with new_folder(parent / parsed.age) as whole:
            _move(stub, whole)
            try:
                Age(read_age(whole).card, whole).verify()
            except AgeError:
                _move(whole, stub)
                raise
        shutil.rmtree(stub, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, parent / parsed.age) from error
    return read_age(parent / parsed.age)


def _move(one: Path, other: Path) -> None:
    for path in sorted(one.iterdir()):
        path.rename(other / path.name)
