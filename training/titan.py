"""A step that torchtitan saved in torch's distributed format becomes the weights of a stock model.

    step-1000/.metadata         which tensor lies where; written last, so with it the step is whole
    step-1000/__0_0.distcp      the tensors, in pieces, by torchtitan's names

Names and the order of rotary pairs are those of pytorch/torchtitan (BSD-3-Clause) as of August 2026, for its
Llama and dense Qwen3 models. `.metadata` is a pickle: only the classes of plain data that torch itself puts
into it are let in, and anything else in it is refused before it runs.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from selves.errors import AgeError

METADATA_FILE = ".metadata"
_DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
_PLAIN = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", *_DTYPES},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "collections": {"OrderedDict"},
}
"""Module -> names that torch puts into .metadata; none of them does anything but hold data."""

NAMES = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "layers.{}.attention.wq.weight": "model.layers.{}.self_attn.q_proj.weight",
    "layers.{}.attention.wk.weight": "model.layers.{}.self_attn.k_proj.weight",
    "layers.{}.attention.wv.weight": "model.layers.{}.self_attn.v_proj.weight",
    "layers.{}.attention.wo.weight": "model.layers.{}.self_attn.o_proj.weight",
    "layers.{}.attention.q_norm.weight": "model.layers.{}.self_attn.q_norm.weight",
    "layers.{}.attention.k_norm.weight": "model.layers.{}.self_attn.k_norm.weight",
    "layers.{}.feed_forward.w1.weight": "model.layers.{}.mlp.gate_proj.weight",
    "layers.{}.feed_forward.w3.weight": "model.layers.{}.mlp.up_proj.weight",
    "layers.{}.feed_forward.w2.weight": "model.layers.{}.mlp.down_proj.weight",
    "layers.{}.attention_norm.weight": "model.layers.{}.input_layernorm.weight",
    "layers.{}.ffn_norm.weight": "model.layers.{}.post_attention_layernorm.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "lm_head.weight": "lm_head.weight",
}
"""torchtitan's name -> transformers'; `output` is what it called the head until 2026."""
PERMUTED = ("llama",)
"""Model types whose queries and keys torchtitan keeps with rotary pairs side by side (as Llama was released);
transformers has the first of all pairs before the second of all."""
KNOWN_TYPES = (*PERMUTED, "qwen3")


class PlainUnpickler(pickle.Unpickler):
    """Reads a pickle of plain data; raises UnpicklingError for anything that could do something."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _PLAIN.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """torch's reader with a metadata that was read safely."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self.metadata = metadata

    def read_metadata(self, *_args: Any, **_kwargs: Any) -> Metadata:
        self.metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return self.metadata


def read_metadata(folder: Path) -> Metadata:
    """Return what .metadata says. Raises AgeError if it is damaged, or is more than plain data."""
    path = folder / METADATA_FILE
    try:
        with path.open("rb") as file:
            metadata = PlainUnpickler(file).load()
        inside = isinstance(metadata, Metadata) and all(
            Path(place.relative_path).name == place.relative_path for place in metadata.storage_data.values()
        )
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
    ) as error:
        raise AgeError(f"{path} cannot be read: {error}", "copy the step again") from error
    if not inside:
        raise AgeError(f"{path} is no metadata of a checkpoint, or points outside of its folder")
    return metadata


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return a step's model tensors by torchtitan's names; optimizer and training state are not read.

    Raises AgeError for what is damaged, and for tensors that are part of the model but not known.
    """
    metadata = read_metadata(folder)
    wanted: dict[str, Any] = {}
    strange: list[str] = []
    for name, stored in metadata.state_dict_metadata.items():
        plain = name.removeprefix("model.")
        if abstract(plain) in NAMES and isinstance(stored, TensorStorageMetadata):
            wanted[name] = torch.empty(stored.size, dtype=stored.properties.dtype)
        elif re.match(r"(tok_embeddings|layers\.\d+|norm|output|lm_head)\.", plain):
            strange.append(name)
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise AgeError(
            f"{folder} holds {strange[0]}{more}, which no Llama or dense Qwen3 of torchtitan has",
            "export it as Hugging Face safetensors: torchtitan's convert_to_hf.py, or last_save_in_hf",
        )
    if not wanted:
        raise AgeError(f"{folder} holds no tensor by torchtitan's names", "is it a checkpoint of torchtitan?")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is what is meant
            load(wanted, storage_reader=_Reader(folder, metadata), no_dist=True)
    except (OSError, RuntimeError, ValueError, KeyError, CheckpointException) as error:
        raise AgeError(f"{folder} cannot be read: {(str(error).splitlines() or [''])[0]}") from error
    return {name.removeprefix("model."): tensor for name, tensor in wanted.items()}


def abstract(name: str) -> str:
    """Return a tensor's name with {} for its layer; the wrapper around wq, wk and wv of 2026 is left out."""
    return re.sub(r"^layers\.\d+\.", "layers.{}.", name).replace(".qkv_linear.", ".")


def to_transformers(tensors: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Return tensors by transformers' names and in its order, for a Llama or Qwen3 config.

    Raises AgeError for other model types.
    """
    if config.model_type not in KNOWN_TYPES:
        raise AgeError(
            f"config.json says {config.model_type}; of torchtitan's own format only {', '.join(KNOWN_TYPES)} "
            f"can be converted here",
            "export it as Hugging Face safetensors: torchtitan's convert_to_hf.py, or last_save_in_hf",
        )
    heads = {"wq": config.num_attention_heads, "wk": config.num_key_value_heads}
    converted = {}
    for name, tensor in tensors.items():
        layer = re.match(r"layers\.(\d+)\.", name)
        theirs = NAMES[abstract(name)].format(layer[1] if layer else "")
        projection = name.split(".")[-2]
        if projection in heads and config.model_type in PERMUTED:
            tensor = apart(tensor, heads[projection])
        converted[theirs] = tensor
    if config.tie_word_embeddings:
        converted.pop("lm_head.weight", None)
    return converted


def apart(weight: Tensor, heads: int) -> Tensor:
    """Reorder each head's rows of (heads * D, C): 0 1 2 3 4 5 becomes 0 2 4 1 3 5."""
    rows, width = weight.shape
    return weight.view(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)
