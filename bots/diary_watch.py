"""A folder of somebody's checkpoints is followed: each becomes an age as soon as it is whole, and writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bots.diary_writing import bring_along
from selves.errors import AgeError, UsageError
from selves.lineage import DIARY_FILE, Age, list_ages, read_diary
from selves.settings import House

Say = Callable[[str], None]


def arrivals(source: Path, lineage: str, house: House, say: Say, *, patient: bool = True) -> list[Age]:
    """Take in what is new and whole in a folder; return the ages that have not written yet, in order.

    Where nothing is whole yet, a patient caller comes again; for another it is an AgeError.

    The folder is a lineage of this house, a run of transformers', TRL's or torchtitan's, or of nanochat's.
    What a run wrote itself (training/diary_callback.py) is brought along. Raises AgeError, UsageError.
    """
    if _is_ours(source, house):
        lineage = source.name
    else:
        if not lineage:
            raise UsageError("what are its ages to be called?", "say --as NAME, such as --as ember")
        for address in _take_in(source, lineage, house, say, patient=patient):
            say(f"kept {address}")
        if brought := bring_along(read_diary(source / DIARY_FILE), house, lineage):
            say(f"brought along {brought} writings of the run's own")
    return [age for age in list_ages(house.checkpoints, lineage) if not age.writings()]


def _is_ours(source: Path, house: House) -> bool:
    return source.absolute().parent == house.checkpoints and bool(list_ages(house.checkpoints, source.name))


def _take_in(source: Path, lineage: str, house: House, say: Say, *, patient: bool) -> Iterator[str]:
    from training.nanochat import import_nanochat
    from training.steps import import_steps, step_folders

    if not source.is_dir():
        raise AgeError(
            f"there is no folder {source}", "name the folder that the run keeps its checkpoints in"
        )
    known = {age.card.address for age in list_ages(house.checkpoints, lineage)}
    if step_folders(source):
        try:
            for age in import_steps(source, lineage, house, say):
                yield age.card.address
        except AgeError as error:
            if not patient:
                raise
            say(error.problem)  # none is whole yet
        return
    for path in sorted(source.glob("model_*.pt")):
        step = re.fullmatch(r"model_(\d{6,})\.pt", path.name)
        if step and (source / f"meta_{step[1]}.json").is_file():
            age = import_nanochat(source, lineage, int(step[1]), house, say)
            if age.card.address not in known:
                yield age.card.address
