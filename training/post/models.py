"""The age that a run begins as: found or brought in, folded together if it is an adapter, and loaded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import AgeError, ConfigError, TrainingError, UsageError
from selves.files import new_folder
from selves.lineage import Address, Age, AgeCard, find_age
from selves.settings import House
from selves.speech import Form
from training.imports import Tell, import_folder, load_model, load_tokenizer
from training.listening import context_of
from training.post.recipe import PostRecipe


class Base(NamedTuple):
    """What a run begins as."""

    age: Age
    folder: Path
    """With the whole model: of an adapter, where it was folded into its base."""
    tokenizer: Any
    form: Form

    @property
    def has_weights(self) -> bool:
        return any(self.folder.glob("*.safetensors"))

    @property
    def ends(self) -> list[int]:
        """The tokens that end what it says."""
        from transformers import GenerationConfig

        ids = {self.tokenizer.eos_token_id}
        if (self.folder / "generation_config.json").exists():
            told = GenerationConfig.from_pretrained(str(self.folder)).eos_token_id
            ids |= set(told if isinstance(told, list) else [told])
        return sorted(token for token in ids if token is not None)


def find_base(recipe: PostRecipe, house: House, tell: Tell, *, dry: bool = False) -> Age:
    """Return the age that a recipe begins as; a folder or a model of the Hub's becomes one first.

    A `dry` one is not brought in: the age then lies where the folder is, or has no weights at all, only what
    is told of it on the Hub. Raises UsageError, AgeError, DiskError.
    """
    if "@" in recipe.base:
        return find_age(house.checkpoints, recipe.base)
    source = Path(recipe.base).expanduser()
    name = "".join(c if c.isalnum() else "-" for c in source.name.lower()).strip("-")
    address = Address.parse(f"{name}@import-000000")
    there = (house.checkpoints / address.lineage / address.age).exists()
    if there and not source.is_dir():
        age = find_age(house.checkpoints, str(address))
        # whatever became of it on the Hub meanwhile
        if f"models--{recipe.base.replace('/', '--')}" in Path(age.card.source).parts:
            return age
    folder = source if source.is_dir() else _from_hub(recipe.base, weights=not dry)
    if there:
        age = find_age(house.checkpoints, str(address))
        if age.card.source != str(folder.absolute()):
            raise UsageError(
                f"{address} is here already, and it came from {age.card.source or 'elsewhere'}, not {folder}",
                "bring it in under another name, `selves ages import`, and say that address as `base`",
            )
        written = max((path.stat().st_mtime for path in folder.glob("*.safetensors")), default=0.0)
        if written > age.card.created_at.timestamp():
            raise UsageError(
                f"{folder} has changed since {address} was made of it",
                "bring it in under another name, `selves ages import`, and say that address as `base`",
            )
        return age
    return _foreseen(folder, address) if dry else import_folder(folder, address, house, tell)


def _foreseen(folder: Path, address: Address) -> Age:
    """Return the age that a model would become, by its configuration and its tokenizer alone."""
    model, tokenizer = outline(folder), load_tokenizer(folder)
    card = AgeCard(
        address=str(address),
        origin="imported",
        created_at=datetime.now(UTC),
        form="chat" if tokenizer.chat_template else "transcript",
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        context_tokens=context_of(model),
        weights_sha256="",
    )
    return Age(card, folder)


def outline(folder: Path) -> Any:
    """Return a model without numbers: the shapes that its configuration says. Raises AgeError."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        line = (str(error).splitlines() or [repr(error)])[0]
        raise AgeError(f"{folder} is no model that transformers knows: {line}", "name another") from error


def _from_hub(name: str, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.jinja", "*.model", "*.txt", *(["*.safetensors"] if weights else [])]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # networks and names fail in many ways
        line = (str(error).splitlines() or [repr(error)])[0]
        raise UsageError(
            f"{name!r} is neither an age, nor a folder, nor to be had from the Hub: {line}",
            "`selves ages list` shows the ages that are here",
        ) from error


def open_base(recipe: PostRecipe, age: Age, state: Path) -> Base:
    """Return the base with its tokenizer. An adapter is folded into its base, in the run's own folder.

    Raises ConfigError where a recipe asks for what cannot be, AgeError.
    """
    folder = age.folder
    under = age.base()
    if recipe.method == "merge" and not (under or recipe.merge.others or recipe.template):
        raise ConfigError(
            f"{age.card.address} is a whole age, so merged with nothing it would be copied as it is",
            "name `others` in [merge]",
        )
    if under is not None:
        if recipe.lora and recipe.keep == "adapter" and recipe.method != "merge":
            raise ConfigError(
                f"{age.card.address} is an adapter itself, and an adapter on an adapter cannot be kept",
                'say keep = "merged", or make a whole age of it first: method = "merge"',
            )
        folder = state / f"base-{age.card.weights_sha256[:16]}"
        if not folder.exists():
            fold(age, under, folder)
    tokenizer = load_tokenizer(age.folder)
    if recipe.template:
        try:
            tokenizer.chat_template = Path(recipe.template).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the template {recipe.template} cannot be read: {error}") from error
    if tokenizer.chat_template is None and recipe.method != "merge":
        raise ConfigError(
            f"{age.card.address} has no chat template, so it cannot be told who says what",
            'name a file with one: template = "chatml.jinja"',
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Base(age, folder, tokenizer, "chat" if recipe.template else age.card.form)


def fold(adapter: Age, under: Age, folder: Path) -> None:
    """Write what an adapter and its base are together as a folder of transformers'."""
    with new_folder(folder) as partial:
        folded(adapter, under).save_pretrained(str(partial), max_shard_size="1TB")


def folded(adapter: Age, under: Age) -> Any:
    """Return what an adapter and its base are together. Raises AgeError."""
    from peft import PeftModel

    model: Any = PeftModel.from_pretrained(load_model(under.folder), str(adapter.folder))
    return model.merge_and_unload()


def load(base: Base, seed: int) -> Any:
    """Return the base's model: in float32, on a GPU in its own dtype. Raises AgeError; UsageError if its
    weights were not brought here.
    """
    if not base.has_weights:
        raise UsageError(
            f"the weights of {base.age.card.address} are not here yet, so it cannot be asked anything",
            "bring them in first: a run does, and so does `selves ages import` with a folder",
        )
    from transformers import set_seed

    set_seed(seed)
    return widened(load_model(base.folder))


def widened(model: Any) -> Any:
    """Return a model as it is computed with here: on a CPU in float32."""
    import torch

    return model if torch.cuda.is_available() else model.float()


def placed(model: Any) -> Any:
    """Return a model where it is asked fastest; trainers place theirs themselves."""
    import torch

    return model.cuda() if torch.cuda.is_available() else model


def lora_config(recipe: PostRecipe) -> Any:
    """Return what PEFT is told of the matrices that are learned beside the model's own, which stay."""
    assert recipe.lora is not None
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=list(recipe.lora.targets) or "all-linear",
        task_type="SEQ_CLS" if recipe.method == "reward" else "CAUSAL_LM",
    )


def check_finite(model: Any, where: str) -> None:
    """Raise TrainingError where a weight is no number; of a sharded model each process looks at its part."""
    import torch

    for name, parameter in model.named_parameters():
        part = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        if parameter.requires_grad and not bool(torch.isfinite(part).all()):
            raise TrainingError(
                f"{name} is no longer a number at {where}; nothing of it was kept",
                "lower `rate` in the recipe; the same command with --fresh begins again",
            )


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the libraries from talking over the story of a run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import datasets  # type: ignore[import-untyped]
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
