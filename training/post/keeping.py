"""An age that came of post-training: written whole or not at all, as an adapter or as a whole model."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import AgeError
from selves.files import disk_error, new_folder, sha256_file
from selves.lineage import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    CARD_FILE,
    DIARY_FILE,
    WEIGHTS_FILE,
    Address,
    Age,
    AgeCard,
    list_ages,
    read_age,
)
from selves.speech import Writing
from training.adapters import TOKENIZER_FILES, read_shapes, why_unfit
from training.figure import Figure
from training.post import judging, speaking
from training.post.cards import readme
from training.post.models import Base
from training.post.recipe import PostRecipe

FIGURES_FILE = "figures.json"


class Facts(NamedTuple):
    """What an age's card says of it, beyond what its files say."""

    address: str
    parent: str
    tokens_seen: int
    train_loss: float | None
    sources: tuple[dict[str, Any], ...]
    before: Sequence[Figure]
    after: Sequence[Figure]


def keep(
    folder: Path, recipe: PostRecipe, base: Base, model: Any, facts: Facts
) -> tuple[AgeCard, list[Writing]]:
    """Write one age. Raises DiskError; AgeError if it is an adapter that not every engine can put on."""
    adapter = recipe.lora is not None and recipe.keep == "adapter"
    judges = recipe.method == "reward"
    others = _others(recipe, base)
    learned = model if recipe.lora is None or adapter else copy.deepcopy(model).float().merge_and_unload()
    voice = judging.voice_of(learned, base, recipe.seed) if judges else learned
    with new_folder(folder) as partial:
        try:
            weights = partial / (ADAPTER_FILE if adapter else WEIGHTS_FILE)
            _write_adapter(partial, base, learned) if adapter else _write_whole(partial, base, voice)
            if judges:
                judging.keep_head(partial, learned)
            _write_tokenizer(partial, base, recipe)
        except OSError as error:
            raise disk_error(error, partial) from error
        if adapter:
            _check_adapter(partial, base)
        weights.chmod(0o644)
        sha256 = sha256_file(weights)
        said = speaking.write(recipe, voice, base, facts.address, sha256, facts.parent)
        _write(partial / DIARY_FILE, "".join(f"{writing.model_dump_json()}\n" for writing in said))
        card = AgeCard(
            address=facts.address,
            parent=facts.parent,
            others=tuple(age.card.address for age in others),
            adapter_of=base.age.card.address if adapter else None,
            created_at=datetime.now(UTC),
            form=base.form,
            architecture=base.age.card.architecture,
            parameters=_parameters(base, adapter=weights if adapter else None),
            context_tokens=base.age.card.context_tokens,
            tokens_seen=base.age.card.tokens_seen + facts.tokens_seen,
            train_loss=facts.train_loss,
            license=base.age.card.license,
            age_restricted=recipe.age_restricted
            or any(age.card.age_restricted for age in (base.age, *others)),
            sources=facts.sources,
            recipe=recipe.model_dump(mode="json"),
            weights_sha256=sha256,
        )
        figures = {"before": list(facts.before), "after": list(facts.after)}
        dumped = {name: [figure.model_dump() for figure in some] for name, some in figures.items()}
        _write(partial / FIGURES_FILE, json.dumps(dumped, indent=1) + "\n")
        _write(partial / "README.md", readme(recipe, card, facts.before, facts.after))
        files = {p.name: sha256_file(p) for p in sorted(partial.iterdir()) if p != weights}
        card = card.model_copy(update={"files": files})
        _write(partial / CARD_FILE, card.model_dump_json(indent=2) + "\n")
    return card, said


def _others(recipe: PostRecipe, base: Base) -> list[Age]:
    """Return who has a part in a self besides its base: ages that the recipe names, and those whose folder,
    or lineage's folder, it reads anything in.
    """
    checkpoints = base.age.lineage_folder.parent
    named = [Address.parse(address) for address in recipe.addresses if address != recipe.base]
    there = (checkpoints / address.lineage / address.age for address in named)
    found = [read_age(folder) for folder in there if (folder / CARD_FILE).exists()]
    found += [age for source in recipe.data for path in source.paths for age in _ages_at(path.absolute())]
    return list({age.card.address: age for age in found if age.card != base.age.card}.values())


def _ages_at(path: Path) -> list[Age]:
    """Return the age in whose folder a path lies, or else the ages of the lineage in whose folder it lies."""
    for folder in (path, *path.parents):
        if (folder / CARD_FILE).exists():
            return [read_age(folder)]
        if any(folder.glob(f"*/{CARD_FILE}")):
            return list_ages(folder.parent, folder.name)
    return []


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise disk_error(error, path) from error


def _write_adapter(partial: Path, base: Base, model: Any) -> None:
    # PEFT would look for the base's vocabulary on the Hub
    model.save_pretrained(str(partial), save_embedding_layers=False, selected_adapters=["default"])
    path = partial / ADAPTER_CONFIG_FILE
    config = json.loads(path.read_text("utf-8")) | {"base_model_name_or_path": base.age.card.address}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _check_adapter(partial: Path, base: Base) -> None:
    config = json.loads((partial / ADAPTER_CONFIG_FILE).read_text("utf-8"))
    problem = why_unfit(config, read_shapes(partial / ADAPTER_FILE), read_shapes(base.folder / WEIGHTS_FILE))
    if problem:
        raise AgeError(f"this adapter cannot be kept: {problem}", 'correct [lora], or say keep = "merged"')


def _write_whole(partial: Path, base: Base, model: Any) -> None:
    """Write a model as it was learned, with the base's own configuration: trainers change theirs.

    Small steps would be rounded away in a smaller dtype, so it is written in that of what was learned.
    """
    model.save_pretrained(str(partial), max_shard_size="1TB")
    for name in ("config.json", "generation_config.json"):
        (partial / name).unlink(missing_ok=True)
        if (base.folder / name).exists():
            shutil.copyfile(base.folder / name, partial / name)
    config = json.loads((base.folder / "config.json").read_text("utf-8"))
    dtype = str(model.dtype).removeprefix("torch.")
    told = {key: dtype for key in ("dtype", "torch_dtype") if config.get(key, dtype) != dtype}
    if told:
        (partial / "config.json").write_text(json.dumps(config | told, indent=2) + "\n", "utf-8")


def _write_tokenizer(partial: Path, base: Base, recipe: PostRecipe) -> None:
    if recipe.template:
        base.tokenizer.save_pretrained(str(partial))
        return
    for name in TOKENIZER_FILES:
        if (base.age.folder / name).exists():
            shutil.copyfile(base.age.folder / name, partial / name)


def _parameters(base: Base, *, adapter: Path | None) -> int:
    under = base.age.base()
    full = under.card.parameters if under else base.age.card.parameters
    added = 0 if adapter is None else sum(rows * columns for rows, columns in read_shapes(adapter).values())
    return full + added
