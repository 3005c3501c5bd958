"""A run of others becomes a lineage here: every step that its trainer kept is an age.

    run/checkpoint-100/   checkpoint-200/ ...     Hugging Face Trainer (and TRL), accelerate's naming
    run/checkpoint/step-1000/ ...                 torchtitan: Hugging Face safetensors, or torch's own format

Only steps that are written to the end are taken, so a run may go on meanwhile; the same command later takes
those that came since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from selves.errors import AgeError, UsageError
from selves.lineage import (
    ADAPTER_FILE,
    LINEAGE_PATTERN,
    WEIGHTS_FILE,
    Address,
    Age,
    age_name,
    read_age,
)
from selves.settings import House
from training.checkpoint import only_trainer
from training.imports import keep_model, load_model, load_tokenizer, read_license

_NAME = re.compile(r"(checkpoint|step)-(\d+)")
STATE_FILE = "trainer_state.json"
INDEX_FILE = "model.safetensors.index.json"

Tell = Callable[[str], None]


class Step(NamedTuple):
    """One step of somebody's run, written to the end."""

    number: int
    folder: Path
    format: Literal["huggingface", "distributed"]
    tokens_seen: int
    """0 where the trainer did not count."""
    train_loss: float | None


def step_folders(source: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of each step in a run's folder, or in `checkpoint` below it, in order."""
    for place in (source, source / "checkpoint"):
        if place.is_dir():
            named = ((_NAME.fullmatch(path.name), path) for path in place.iterdir() if path.is_dir())
            found = sorted((int(match[2]), path) for match, path in named if match)
            if found:
                return found
    return []


def read_step(number: int, folder: Path) -> Step | str:
    """Return a step that is whole, or why it is none."""
    if (folder / ".metadata").is_file():
        return Step(number, folder, "distributed", 0, None)
    if (folder / ADAPTER_FILE).exists() and not (folder / WEIGHTS_FILE).exists():
        return "it holds adapters alone; merge them into their base (peft: merge_and_unload) and save that"
    tokens, loss = 0, None
    if folder.name.startswith("checkpoint-"):  # Trainer writes its state after everything else
        try:
            state = json.loads((folder / STATE_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return f"it has no whole {STATE_FILE} yet"
        tokens = int(state.get("num_input_tokens_seen") or 0)
        logged = [line["loss"] for line in state.get("log_history", ()) if "loss" in line]
        loss = float(logged[-1]) if logged else None
    try:
        missing = _unreadable(folder)
    except (OSError, ValueError, KeyError) as error:
        return f"{INDEX_FILE} cannot be read: {error}"
    return f"{missing} is not whole" if missing else Step(number, folder, "huggingface", tokens, loss)


def _unreadable(folder: Path) -> str:
    """Return the name of a weights file that is missing or still being written; "" if all are there."""
    from safetensors import SafetensorError, safe_open

    for name in _weight_files(folder):
        try:
            with safe_open(folder / name, framework="pt"):  # its header says how long the file must be
                pass
        except (OSError, SafetensorError):
            return name
    return ""


def _weight_files(folder: Path) -> list[str]:
    """Return the names of a step's safetensors files, there or not."""
    index = folder / INDEX_FILE
    if not index.exists():
        return [WEIGHTS_FILE]
    return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))


def import_steps(
    source: Path, lineage: str, house: House, tell: Tell, assets: Path | None = None
) -> Iterator[Age]:
    """Take in every whole step of a run, in order, yielding each new age.

    A step's configuration and tokenizer are looked for in the step, in `assets`, in the run's folder and in
    the one above. Steps that are here already are passed over. Raises UsageError for a name that is none or
    is another run's, AgeError for what cannot be loaded or where no step is whole, DiskError.
    """
    if not re.fullmatch(LINEAGE_PATTERN, lineage):
        raise UsageError(f"{lineage!r} cannot be a lineage's name", "use small letters, digits and -")
    found = step_folders(source)
    if not found:
        raise AgeError(f"{source} has no checkpoint-N or step-N in it", "name the folder of the whole run")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # one for each step tells nobody anything
    places = [place for place in (assets, source, source.parent) if place is not None]
    whole = 0
    with only_trainer(house.checkpoints / lineage):
        for number, path in found:
            folder = house.checkpoints / lineage / age_name("import", number)
            if folder.exists():
                _same(read_age(folder), path)
                whole += 1
                continue
            step = read_step(number, path)
            if isinstance(step, str):
                tell(f"{path.name} is left out for now: {step}")
                continue
            tell(f"reading {path}")
            yield _import(step, Address(lineage, folder.name), folder, [path, *places])
            whole += 1
    if not whole:
        raise AgeError(
            f"none of the {len(found)} steps in {source} can be taken",
            "what is missing is said above; a step needs model.safetensors, or torch's .metadata",
        )


def _same(age: Age, path: Path) -> None:
    if age.card.source != str(path.absolute()):
        raise UsageError(
            f"{age.card.address} is here already and came from {age.card.source}",
            "give this run another name with --as",
        )


def _import(step: Step, address: Address, folder: Path, places: list[Path]) -> Age:
    shape = _place(places, "config.json")
    words = _place(places, "tokenizer.json", "tokenizer_config.json")
    tokenizer = load_tokenizer(words)
    in_one_place = step.format == "huggingface" and shape == step.folder
    model = load_model(step.folder) if in_one_place else _assemble(step, shape)
    if len(tokenizer) > model.config.vocab_size:
        raise AgeError(
            f"the tokenizer in {words} has {len(tokenizer)} tokens, but the model of {step.folder} knows "
            f"{model.config.vocab_size}",
            "name the folder with its own tokenizer: --assets FOLDER",
        )
    return keep_model(
        folder,
        address,
        model,
        tokenizer,
        license=read_license(shape),
        source=str(step.folder.absolute()),
        tokens_seen=step.tokens_seen,
        train_loss=step.train_loss,
    )


def _place(places: list[Path], *names: str) -> Path:
    """Return the first folder that has one of the files. Raises AgeError if none has."""
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    raise AgeError(
        f"there is no {names[0]} in {', '.join(map(str, places))}",
        "name the folder with config.json and tokenizer: --assets FOLDER (torchtitan's hf_assets_path)",
    )


def _assemble(step: Step, shape: Path) -> Any:
    """Return the model of a step by a config.json that lies elsewhere. Raises AgeError if it does not fit."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(str(shape), local_files_only=True)
        if step.format == "huggingface":
            tensors = _read_safetensors(step.folder)
        else:
            from training import titan

            tensors = titan.to_transformers(titan.read_tensors(step.folder), config)
        model = AutoModelForCausalLM.from_config(config, dtype=next(iter(tensors.values())).dtype)
        head = {"lm_head.weight": tensors["model.embed_tokens.weight"]} if config.tie_word_embeddings else {}
        model.load_state_dict(tensors | head)
        if (shape / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(str(shape), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = " ".join(str(error).split())[:300]
        raise AgeError(f"{step.folder} is not the model of {shape / 'config.json'}: {first}") from error
    return model


def _read_safetensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {
        name: tensor for file in _weight_files(folder) for name, tensor in load_file(folder / file).items()
    }
