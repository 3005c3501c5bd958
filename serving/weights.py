"""An age's weights as they lie on disk: mapped, not copied, so that all who map a file share its memory.

An adapter's age (LoRA, PEFT's format) is its base's weights with the adapter added; what it does not change
stays mapped from the base's file.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from selves.errors import AgeError, UnfitError
from selves.lineage import ADAPTER_CONFIG_FILE, Age

_PREFIX = "base_model.model."


class Mapped(Mapping[str, Tensor]):
    """Name -> tensor of one safetensors file; a tensor is mapped when it is asked for.

    `dtype`: what floating point numbers are turned into, if they are of another type; then they are copies.
    Raises AgeError when the file is not whole.
    """

    def __init__(self, path: Path, address: str, dtype: torch.dtype | None = None) -> None:
        self._dtype = dtype
        try:
            self._file: Any = safe_open(path, framework="pt")
            self._names = tuple(self._file.keys())
        except (OSError, SafetensorError) as error:
            raise AgeError(f"{address} does not load: {path}: {error}", "train or import it again") from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor.to(self._dtype) if self._dtype and tensor.is_floating_point() else tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_weights(age: Age, dtype: torch.dtype) -> Mapping[str, Tensor]:
    """Return the weights of an age, an adapter's with those of its base. Raises AgeError."""
    base = age.base()
    if base is None:
        return Mapped(age.folder / age.weights_file, age.card.address, dtype)
    whole = Mapped(base.folder / base.weights_file, base.card.address, dtype)
    return ChainMap(with_adapter(whole, age), whole)  # type: ignore[arg-type]  # nothing is put in


def with_adapter(base: Mapping[str, Tensor], age: Age) -> dict[str, Tensor]:
    """Return those of a base's weights that a LoRA adapter changes: W + scale * B A (Hu et al. 2021).

    The scale is alpha / r, or alpha / sqrt(r) for rank-stabilised ones (Kalajdzievski 2023). Raises AgeError
    for an adapter of another kind, or one that does not fit.
    """
    address = age.card.address
    config = _adapter_config(age)
    adapter = Mapped(age.folder / age.weights_file, address, torch.float32)
    downs = [name for name in adapter if name.endswith(".lora_A.weight")]
    strange = set(adapter) - {*downs, *(name.replace(".lora_A.", ".lora_B.") for name in downs)}
    if strange:
        raise AgeError(f"{address}: only plain LoRA adapters are read, not {min(strange)}", _MERGE)
    rank = int(config["r"])
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    changed = {}
    for down in downs:
        name = down.removeprefix(_PREFIX).replace(".lora_A.", ".")
        if name not in base:
            raise AgeError(f"{address} changes {name}, which {age.card.adapter_of} does not have", _MERGE)
        delta = adapter[down.replace(".lora_A.", ".lora_B.")] @ adapter[down]
        if delta.shape != base[name].shape:
            raise AgeError(f"{address} does not fit {age.card.adapter_of}: {name} has another shape", _MERGE)
        changed[name] = (base[name].float() + scale * delta).to(base[name].dtype)
    return changed


_MERGE = "merge it with PEFT's merge_and_unload and import the whole model"


def _adapter_config(age: Age) -> dict[str, Any]:
    config = age.read_json(ADAPTER_CONFIG_FILE)
    if not isinstance(config.get("r"), int) or not isinstance(config.get("lora_alpha"), int | float):
        problem = f"the {ADAPTER_CONFIG_FILE} of {age.card.address} names no rank r and no lora_alpha"
        raise AgeError(problem, "train or import it again")
    for key in ("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"):
        if config.get(key):
            raise UnfitError(f"{age.card.address} is a LoRA with {key}, which only vLLM may run", _MERGE)
    return config
