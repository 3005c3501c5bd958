"""Where the self of a round is raised before anybody may see it: a house of its own, in the round's folder.

    home/loops/LINEAGE/round-0001/trial/checkpoints/     links to the ages of the house, and the new ones

Bots register each age that they find among the others, and letters reach it; one that is let go was never
there. One that stays moves in: its ages are renamed into place, and only then is this house deleted, so what
is killed on the way is done to its end the next time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from selves.files import disk_error, write_file
from selves.lineage import DIARY_FILE, METRICS_FILE, add_to_diary, read_diary
from selves.settings import House
from training.checkpoint import only_trainer

TRIAL = "trial"


def open_trial(house: House, lineage: str, round_folder: Path) -> House:
    """Return a house with links to all ages, in which new ones of a lineage are its own. Raises DiskError."""
    trial = house.model_copy(
        update={"home": round_folder / TRIAL, "database_url_setting": house.database_url}
    )
    own = trial.checkpoints / lineage
    try:
        own.mkdir(parents=True, exist_ok=True)
        for link in (*trial.checkpoints.iterdir(), *own.iterdir()):
            if link.is_symlink():
                link.unlink()
        for folder in house.checkpoints.iterdir():
            if folder.is_dir() and folder.name != lineage:
                (trial.checkpoints / folder.name).symlink_to(folder)
        for age in _folders(house.checkpoints / lineage):
            if not (own / age.name).exists():
                (own / age.name).symlink_to(age)
        diary = house.checkpoints / lineage / DIARY_FILE
        if diary.exists() and not (own / DIARY_FILE).exists():
            shutil.copyfile(diary, own / DIARY_FILE)
    except OSError as error:
        raise disk_error(error, own) from error
    return trial


def is_open(round_folder: Path) -> bool:
    return (round_folder / TRIAL).exists()


def has(round_folder: Path, lineage: str, age: str) -> bool:
    """Whether an age is in a trial house and not yet among the others."""
    return (round_folder / TRIAL / "checkpoints" / lineage / age).is_dir()


def move_in(house: House, lineage: str, round_folder: Path) -> None:
    """Let the new ages of a trial be among the others, with what was logged and written. Raises DiskError."""
    own, place = round_folder / TRIAL / "checkpoints" / lineage, house.checkpoints / lineage
    with only_trainer(place):
        try:
            for age in _folders(own):
                if not age.is_symlink() and not (place / age.name).exists():
                    age.rename(place / age.name)
        except OSError as error:
            raise disk_error(error, place) from error
        logged, learned = (_lines(folder / METRICS_FILE) for folder in (place, own))
        if new := [line for line in learned if line not in set(logged)]:
            write_file(place / METRICS_FILE, "".join(f"{line}\n" for line in (*logged, *new)))
        there, here = (read_diary(folder / DIARY_FILE) for folder in (place, own))
        if written := [writing for writing in here if writing not in there]:
            add_to_diary(place / DIARY_FILE, written)


def close(round_folder: Path) -> None:
    """Delete a trial house, with the ages that are still in it."""
    shutil.rmtree(round_folder / TRIAL, ignore_errors=True)


def _folders(lineage_folder: Path) -> list[Path]:
    found = lineage_folder.iterdir() if lineage_folder.exists() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []
