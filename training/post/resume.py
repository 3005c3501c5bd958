"""The newest moment of a post-training run, so that one killed at any point comes to the same weights.

    home/checkpoints/LINEAGE/.state/STAGE/
        run.json           what is being run: the recipe, the hash of the rows, and what was measured before
        checkpoint-N/      transformers' own state: weights, optimizer, schedule, random states
            whole.json     written last: without it the folder is what a killed run left, and is deleted
        base-*/            an adapter that the run begins as, folded into its base

One that is newer and whole stands before an older one is deleted. All of it goes when the last age is kept.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selves.errors import DiskError, TrainingError
from selves.files import disk_error, sha256_file, write_file
from selves.lineage import AWAY_FOLDER, AgeCard, age_name, list_ages, texts_in
from training.checkpoint import STATE_FOLDER
from training.post.recipe import IDLE, PostRecipe
from training.prune import pruned
from training.recipe import differences

RUN_FILE = "run.json"
WHOLE_FILE = "whole.json"
PREFIX = "checkpoint-"
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


def begin(
    state: Path, recipe: PostRecipe, rows_sha256: str, base_sha256: str, sharded: bool
) -> dict[str, Any]:
    """Return what is known of the run, or begin it; so also over another of which nothing was kept, such as
    one that was refused. Raises TrainingError if it is another run's state.
    """
    now: dict[str, Any] = {
        "recipe": essence(recipe),
        "rows": rows_sha256,
        "base": base_sha256,
        "sharded": sharded,
    }
    path = state / RUN_FILE
    if not path.exists():
        write_file(path, json.dumps(now))
        return now
    try:
        then = json.loads(path.read_text("utf-8"))
        changed = differences(then["recipe"], now["recipe"])
        kept = _has_kept(state, PostRecipe.model_validate(then["recipe"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path} is damaged: {error}", "begin anew with --fresh") from error
    for name, what in (("rows", "its data is not what it was"), ("base", "its base is not what it was")):
        if then.get(name) != now[name]:
            changed.append(what)
    if then.get("sharded", False) != sharded:
        changed.append(f"it {'was not' if sharded else 'was'} spread over processes by --parallel fsdp")
    if changed and not kept:
        write_file(path, json.dumps(now))
        return now
    if changed:
        raise TrainingError(
            f"{recipe.lineage}'s {recipe.stage_name} was begun otherwise: {'; '.join(changed)}",
            "put it back as it was, choose another lineage or stage, or begin anew with --fresh",
        )
    return dict(then)


def _has_kept(state: Path, recipe: PostRecipe) -> bool:
    """Whether a run has come to a checkpoint or to an age."""
    folder = state.parent.parent
    ladder = (folder / age_name(recipe.stage_name, step) for step in recipe.age_steps)
    return newest(state) is not None or any(map(is_made, ladder))


def essence(recipe: PostRecipe) -> dict[str, Any]:
    """Return what of a recipe decides who the self becomes."""
    idle = set(IDLE)
    # elsewhere what is read at once is compared with each other, or sampled
    if recipe.method not in ("sft", "dpo", "reward"):
        idle.discard("micro_batch")
    return recipe.model_dump(mode="json", exclude=idle, exclude_defaults=True)


def check_kept(card: AgeCard, recipe: PostRecipe) -> None:
    """Raise TrainingError if an age that is there came of another recipe than this."""
    try:
        changed = differences(essence(PostRecipe.model_validate(card.recipe)), essence(recipe))
    except ValidationError:
        changed = ["it is no age of post-training"]
    changed += [f"{name} is not what it was" for name in _other_files(card)]
    if changed:
        raise TrainingError(
            f"{card.address} was made otherwise: {'; '.join(changed)}",
            "put the recipe back as it was, choose another lineage or stage, or begin anew with --fresh",
        )


def _other_files(card: AgeCard) -> list[str]:
    """Return the files that an age read and that are others by now; those that are gone may be."""
    read = [
        (source["file"], source["sha256"])
        for source in card.sources
        if "file" in source and "sha256" in source
    ]
    for source in card.sources:
        if "folder" in source:
            read += [
                (str(Path(source["folder"]) / name), sha) for name, sha in source.get("files", {}).items()
            ]
        named = set(texts_in(source.get("options")))  # of a folder all files are known, read or not
        read += [(name, sha) for name, sha in source.get("read", {}).items() if name in named]
    return [name for name, sha256 in read if Path(name).is_file() and sha256_file(Path(name)) != sha256]


def is_made(folder: Path) -> bool:
    """Whether an age is there, or was and was let go or sent away. Raises AgeError."""
    address = f"{folder.parent.name}@{folder.name}"
    away = folder.parent / AWAY_FOLDER / folder.name
    return folder.exists() or away.exists() or address in pruned(folder.parent)


def unfinished(checkpoints: Path) -> Iterator[PostRecipe]:
    """Yield the recipes of runs that were begun and have not made all of their ages, some twice.

    Raises AgeError if what is remembered of ages that were let go is damaged.
    """
    for path in checkpoints.glob(f"*/{STATE_FOLDER}/*/{RUN_FILE}"):
        with suppress(OSError, ValueError, KeyError):  # what is damaged does not go on
            yield PostRecipe.model_validate(json.loads(path.read_text("utf-8"))["recipe"])
    for age in list_ages(checkpoints):
        with suppress(ValidationError):  # an age of another kind of training
            recipe = PostRecipe.model_validate(age.card.recipe)
            names = (age_name(recipe.stage_name, step) for step in recipe.age_steps)
            if not all(is_made(age.folder.parent / name) for name in names):
                yield recipe


def note(state: Path, **facts: Any) -> None:
    """Add to what is known of the run."""
    path = state / RUN_FILE
    write_file(path, json.dumps(json.loads(path.read_text("utf-8")) | facts))


def newest(state: Path) -> Path | None:
    """Return the newest whole checkpoint; delete what is not whole."""
    found = []
    for folder in state.glob(f"{PREFIX}*"):
        if is_whole(folder):
            found.append(folder)
        else:
            shutil.rmtree(folder)
    return max(found, key=_step, default=None)


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint was written to its end, and all files have the sizes they had then."""
    try:
        sizes = json.loads((folder / WHOLE_FILE).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def seal(folder: Path) -> None:
    """Say of a checkpoint that it is whole, when it is on the disk; then let older ones go."""
    sizes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[str(path.relative_to(folder))] = path.stat().st_size
    write_file(folder / WHOLE_FILE, json.dumps(sizes))
    for other in folder.parent.glob(f"{PREFIX}*"):
        if _step(other) < _step(folder):
            shutil.rmtree(other)


@contextmanager
def writable(state: Path) -> Iterator[None]:
    """Turn what torch and safetensors say of a full disk or device into the house's own error."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise _full(state, error) from error
    except (ConnectionError, TimeoutError) as error:
        raise TrainingError(
            f"something that this run speaks to cannot be reached: {error}",
            "leave it out of `report_to`, or run the same command again when it can: it goes on",
        ) from error
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        raise disk_error(error, state) from error
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the device has no room for this: {(str(error).splitlines() or [''])[0]}",
            "lower `micro_batch`, use [lora], or spread it: --processes N --parallel fsdp",
        ) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise _full(state, error) from error
        raise


def _full(state: Path, error: Exception) -> DiskError:
    return DiskError(
        f"{state} could not be written: {(str(error).splitlines() or [''])[0]}; what was kept is untouched",
        "free some space (`selves ages list` shows what each age takes) and run the same command again",
    )


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))
