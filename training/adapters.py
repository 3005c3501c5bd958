"""A LoRA adapter that PEFT wrote becomes an age: a sibling of the age it goes on, at a fraction of its size.

Only what every engine of the house computes alike is taken in: plain LoRA pairs (Hu et al. 2021) on matrices
of the base. It speaks with the base's tokenizer and template, so those are copied from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selves.errors import AgeError, UsageError
from selves.files import disk_error, new_folder, sha256_file
from selves.lineage import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    CARD_FILE,
    Address,
    Age,
    AgeCard,
    find_age,
    read_age,
    read_json,
)
from selves.settings import House
from training.imports import Tell, read_license

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
NOT_PEFTS = "name a folder that PEFT wrote"
PREFIX = "base_model.model."
"""With which PEFT begins the name of every tensor."""
UNUSUAL = ("use_dora", "lora_bias", "modules_to_save", "layer_replication", "alora_invocation_tokens")
"""Settings of PEFT's that make more of an adapter than pairs of matrices."""

Shapes = Mapping[str, tuple[int, ...]]


def import_adapter(source: Path, of: str, name: str, house: House, tell: Tell) -> Age:
    """Copy an adapter folder into an age, or return the one that is there.

    `of` is the address of the full age it goes on; `name` a lineage, or a whole address of stage import.
    Raises UsageError, AgeError where the adapter does not fit its base, DiskError.
    """
    address = Address.parse(name if "@" in name else f"{name}@import-000000")
    if address.stage != "import":
        raise UsageError(
            f"{address} is not an address of an imported age", f"say {address.lineage}@import-000000"
        )
    base = find_age(house.checkpoints, of)
    if base.card.adapter_of is not None:
        raise UsageError(f"{of} is an adapter itself", f"say --of {base.card.adapter_of}")
    folder = house.checkpoints / address.lineage / address.age
    if folder.exists():
        return read_age(folder)
    config = read_json(source / ADAPTER_CONFIG_FILE, str(source), NOT_PEFTS)
    tell(f"reading {source}")
    adapter, full = read_shapes(source / ADAPTER_FILE), read_shapes(base.folder / base.weights_file)
    problem = why_unfit(config, adapter, full)
    if problem:
        raise AgeError(f"{source} cannot go on {of}: {problem}", "it must be plain LoRA, trained on that age")
    with new_folder(folder) as partial:
        try:
            for file in (source / ADAPTER_CONFIG_FILE, source / ADAPTER_FILE):
                shutil.copyfile(file, partial / file.name)
            for file in (base.folder / file for file in TOKENIZER_FILES):
                if file.exists():
                    shutil.copyfile(file, partial / file.name)
        except OSError as error:
            raise disk_error(error, partial) from error
        files = {p.name: sha256_file(p) for p in sorted(partial.iterdir()) if p.name != ADAPTER_FILE}
        card = AgeCard(
            address=str(address),
            parent=of,
            adapter_of=of,
            origin="imported",
            created_at=datetime.now(UTC),
            form=base.card.form,
            architecture=base.card.architecture,
            parameters=base.card.parameters + sum(rows * columns for rows, columns in adapter.values()),
            context_tokens=base.card.context_tokens,
            tokens_seen=base.card.tokens_seen,
            license=read_license(source) or base.card.license,
            age_restricted=base.card.age_restricted,
            source=f"{source.absolute()}, on weights with sha256 {base.card.weights_sha256}",
            weights_sha256=sha256_file(partial / ADAPTER_FILE),
            files=files,
        )
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return read_age(folder)


def why_unfit(config: Mapping[str, Any], adapter: Shapes, full: Shapes) -> str:
    """Say why an adapter cannot go on a model, "" if it can. Both are given as name -> shape. Pure."""
    kind = config.get("peft_type")
    if kind != "LORA":
        return f"it is of kind {kind}, not LORA"
    unusual = [name for name in UNUSUAL if config.get(name)]
    if unusual or config.get("bias", "none") != "none":
        return (
            f"its {ADAPTER_CONFIG_FILE} sets {(unusual or ['bias'])[0]}, which not every engine here can do"
        )
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in adapter.items():
        module, _, part = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if not name.startswith(PREFIX) or part not in ("lora_A", "lora_B") or len(shape) != 2:
            return f"{name} is no matrix of a LoRA pair"
        pairs.setdefault(module, {})[part] = shape
    for module, pair in pairs.items():
        target = full.get(f"{module}.weight")
        if target is None:
            return f"the base has no {module}"
        down, up = pair.get("lora_A"), pair.get("lora_B")
        if down is None or up is None:
            return f"{module} has only half of its pair"
        if (up[0], down[1]) != target or up[1] != down[0]:
            return f"its matrices for {module} are {up} and {down}, the base's is {target}"
    return "" if pairs else "it has no weights"


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in a safetensors file, from its header. Raises AgeError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AgeError(f"{path} cannot be read: {error}", NOT_PEFTS) from error
