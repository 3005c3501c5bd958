"""A self that nanochat raised becomes an age here: its weights, its tokenizer, and how it is spoken to.

    ~/.cache/nanochat/
        tokenizer/tokenizer.pkl                       read without running it: training/pickled.py
        base_checkpoints/d12/model_002520.pt          torch tensors by name, read with weights_only
        base_checkpoints/d12/meta_002520.json         the model's shape, and what it was trained with
        chatsft_checkpoints/..., chatrl_checkpoints/...     the same, after chat training

Written for nanochat (karpathy/nanochat, MIT) as it was on 2026-07-03. Its model is in no stock class of
transformers, so the folder names our own: `serving/nanochat.py` loads it, in the embedded engine alone.
Everything that nanochat keeps in its code rather than in its checkpoints goes into config.json.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from selves.config import reasons
from selves.errors import AgeError, DiskError, UsageError
from selves.files import new_folder, sha256_file
from selves.lineage import CARD_FILE, Address, Age, AgeCard, read_age
from selves.settings import House
from selves.speech import Form, Frozen
from training import tokenizer as house_tokenizer
from training.export import WEIGHTS_FILE, other_files
from training.pickled import Encoding, read_encoding

MODEL_TYPE = "selves_nanochat"
ARCHITECTURE = "SelvesNanochatForCausalLM"
KNOWN = "this importer knows nanochat as it was on 2026-07-03"
KINDS = {"base_checkpoints": "base", "chatsft_checkpoints": "sft", "chatrl_checkpoints": "rl"}
"""Folder of checkpoints -> what nanochat calls the stage that wrote them."""

BOS, USER_START, USER_END = "<|bos|>", "<|user_start|>", "<|user_end|>"
ASSISTANT_START, ASSISTANT_END = "<|assistant_start|>", "<|assistant_end|>"
VALUE_GATE_CHANNELS, SMEAR_CHANNELS = 12, 24
WINDOW_TILE = 128
"""Short windows are a multiple of this."""

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- set turns = messages[1:] if messages[0].role == 'system' else messages -%}"
    "{%- set told = messages[0].content + '\n\n' if messages[0].role == 'system' else '' -%}"
    "{%- if not turns -%}{{- raise_exception('nobody has said anything yet') -}}{%- endif -%}"
    "{%- for message in turns -%}"
    "{%- if message.role != ('assistant' if loop.index0 % 2 else 'user') -%}"
    "{{- raise_exception('after a system message if any, user and assistant take turns, the user first') -}}"
    "{%- endif -%}"
    "{%- if message.role == 'user' -%}"
    "{{- '<|user_start|>' + (told if loop.first else '') + message.content + '<|user_end|>' -}}"
    "{%- else -%}{{- '<|assistant_start|>' + message.content + '<|assistant_end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}"
)
"""As nanochat renders a conversation; it, too, puts a system message in front of the first user's."""


class ModelConfig(Frozen):
    """`model_config` in meta_NNNNNN.json, by nanochat's names."""

    sequence_len: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    n_layer: int = Field(gt=0)
    n_head: int = Field(gt=0)
    n_kv_head: int = Field(gt=0)
    n_embd: int = Field(ge=SMEAR_CHANNELS)
    window_pattern: str = Field("L", pattern="^[SLsl]+$")
    """Repeated over the layers: L sees the whole sequence, S a quarter; the last layer is always L."""

    @property
    def key_width(self) -> int:
        return self.n_kv_head * (self.n_embd // self.n_head)

    @property
    def windows(self) -> list[int]:
        """For each layer, how many tokens before its own a token sees."""
        quarter = math.ceil(math.ceil(self.sequence_len / 4) / WINDOW_TILE) * WINDOW_TILE
        letters = [self.window_pattern[i % len(self.window_pattern)] for i in range(self.n_layer - 1)]
        return [*(quarter if letter in "Ss" else self.sequence_len for letter in letters), self.sequence_len]

    @property
    def value_embedding_layers(self) -> list[int]:
        """Every other layer, the last one included."""
        return list(range((self.n_layer - 1) % 2, self.n_layer, 2))


class Checkpoint(NamedTuple):
    """One step of one nanochat run, as found on disk."""

    folder: Path
    step: int

    @property
    def model(self) -> Path:
        return self.folder / f"model_{self.step:06d}.pt"

    @property
    def meta(self) -> Path:
        return self.folder / f"meta_{self.step:06d}.json"

    @property
    def kind(self) -> str:
        """`base`, `sft` or `rl`, by the folder it lies in. Raises AgeError for other folders."""
        kind = KINDS.get(self.folder.parent.name)
        if kind is None:
            raise AgeError(
                f"{self.folder} does not say whether its checkpoint is a base or a chat model",
                f"keep it where nanochat wrote it, in one of {', '.join(KINDS)}",
            )
        return kind

    @property
    def lineage(self) -> str:
        """The name it gets if nobody says another: `nanochat-d12`, `nanochat-d12-sft`."""
        tag = re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower()).strip("-")
        return f"nanochat-{tag}" if self.kind == "base" else f"nanochat-{tag}-{self.kind}"


def import_nanochat(
    source: Path, name: str | None, step: int | None, house: House, tell: Callable[[str], None]
) -> Age:
    """Convert one checkpoint of nanochat into an age, or return the age that it became before.

    `source` is nanochat's folder, or one in it, that holds one model; `name` is a lineage or an address with
    stage `import`; without `step` it is the newest. Weights become float32, as nanochat itself computes on a
    CPU. Raises AgeError for what is missing, damaged or unknown, UsageError where a choice has to be made,
    DiskError.
    """
    checkpoint = find_checkpoint(source.resolve(), step)
    pickled = find_tokenizer(checkpoint.folder)
    address = _address(checkpoint, name)
    meta, config = read_meta(checkpoint.meta)
    tell(f"reading {checkpoint.model}")
    came_from = {path.name: _sha256(path) for path in (checkpoint.model, checkpoint.meta, pickled)}
    folder = house.checkpoints / address.lineage / address.age
    if folder.exists():
        return _same(read_age(folder), came_from)
    encoding = read_encoding(pickled.read_bytes())
    _check_tokens(encoding, config, pickled)
    tensors = read_tensors(checkpoint.model, config)
    form: Form = "transcript" if checkpoint.kind == "base" else "chat"
    with new_folder(folder) as partial:
        _save_tensors(tensors, partial / WEIGHTS_FILE)
        save_tokenizer(encoding, partial, form, address.lineage, config.sequence_len)
        ends = [encoding.special[ASSISTANT_END], encoding.special[BOS]]  # where nanochat's engine stops, too
        ids = {"bos_token_id": encoding.special[BOS], "eos_token_id": ends, "pad_token_id": ends[0]}
        _write_json(partial / "config.json", hugging_face_config(config) | ids)
        _write_json(partial / "generation_config.json", ids)
        card = AgeCard(
            address=str(address),
            origin="imported",
            created_at=datetime.now(UTC),
            form=form,
            architecture=ARCHITECTURE,
            parameters=sum(tensor.numel() for tensor in tensors.values()),
            context_tokens=config.sequence_len,
            tokens_seen=_tokens_seen(checkpoint, meta),
            bits_per_byte=_number(meta.get("val_bpb")),
            source=f"nanochat, {checkpoint.kind} model, {checkpoint.model}",
            recipe={"nanochat": meta.get("user_config") or {}, "imported_from": came_from},
            weights_sha256=sha256_file(partial / WEIGHTS_FILE),
            files=other_files(partial),
        )
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    return read_age(folder)


def find_checkpoint(folder: Path, step: int | None) -> Checkpoint:
    """Return the newest checkpoint in a folder, or the one of `step`.

    The folder holds model_NNNNNN.pt, or is one or two levels above the only folder that does.
    Raises AgeError if there is none, UsageError if several models are there.
    """
    if not folder.is_dir():
        raise AgeError(f"there is no folder {folder}", "name the folder where nanochat keeps its checkpoints")
    holders = {path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}model_*.pt")}
    if folder in holders:
        holders = {folder}
    if len(holders) > 1:
        several = ", ".join(sorted(str(holder.relative_to(folder)) for holder in holders))
        raise UsageError(f"{folder} holds several models: {several}", "name the folder of one of them")
    found = [
        re.fullmatch(r"model_(\d{6,})\.pt", path.name) for holder in holders for path in holder.iterdir()
    ]
    steps = sorted(int(match[1]) for match in found if match)
    if not steps:
        raise AgeError(
            f"{folder} holds no nanochat checkpoint: there is no model_NNNNNN.pt",
            "name a folder such as ~/.cache/nanochat/base_checkpoints/d12",
        )
    if step is not None and step not in steps:
        raise UsageError(f"{folder} has no step {step}", f"it has {', '.join(map(str, steps))}")
    checkpoint = Checkpoint(holders.pop(), steps[-1] if step is None else step)
    if not checkpoint.meta.is_file():
        raise AgeError(f"{checkpoint.meta} is missing", "copy it from where the checkpoint comes from")
    return checkpoint


def find_tokenizer(folder: Path) -> Path:
    """Return tokenizer.pkl of a checkpoint's folder: in it, or in `tokenizer/` up to two levels above.

    Raises AgeError if there is none.
    """
    places = [folder, folder / "tokenizer", folder.parent / "tokenizer", folder.parent.parent / "tokenizer"]
    for place in places:
        if (place / "tokenizer.pkl").is_file():
            return place / "tokenizer.pkl"
    raise AgeError(
        f"there is no tokenizer.pkl for {folder}",
        f"copy nanochat's folder tokenizer to {places[-1]}",
    )


def read_meta(path: Path) -> tuple[dict[str, Any], ModelConfig]:
    """Return all of a meta_NNNNNN.json, and the model's shape. Raises AgeError naming what is not known."""
    try:
        meta = json.loads(path.read_text("utf-8"))
        config = ModelConfig.model_validate(meta["model_config"])
    except ValidationError as error:
        known = ", ".join(ModelConfig.model_fields)
        raise AgeError(f"{path}, model_config: {reasons(error)}", f"{KNOWN}, with {known}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AgeError(f"{path} is not a nanochat checkpoint's: {error!r}", "restore it") from error
    heads, keys, width = config.n_head, config.n_kv_head, config.n_embd
    if width % (2 * heads) or heads % keys:
        raise AgeError(
            f"{path}: {heads} heads and {keys} key heads do not go into a width of {width}", "restore it"
        )
    return meta, config


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor, the vocabulary not padded."""
    width, key_width, words = config.n_embd, config.key_width, config.vocab_size
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (words, width),
        "lm_head.weight": (words, width),
        "resid_lambdas": (config.n_layer,),
        "x0_lambdas": (config.n_layer,),
        "smear_gate.weight": (1, SMEAR_CHANNELS),
        "smear_lambda": (1,),
        "backout_lambda": (1,),
    }
    for layer in range(config.n_layer):
        block = f"transformer.h.{layer}"
        shapes |= {
            f"{block}.attn.c_q.weight": (width, width),
            f"{block}.attn.c_k.weight": (key_width, width),
            f"{block}.attn.c_v.weight": (key_width, width),
            f"{block}.attn.c_proj.weight": (width, width),
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
        }
    for layer in config.value_embedding_layers:
        shapes[f"value_embeds.{layer}.weight"] = (words, key_width)
        shapes[f"transformer.h.{layer}.attn.ve_gate.weight"] = (config.n_kv_head, VALUE_GATE_CHANNELS)
    return shapes


def read_tensors(path: Path, config: ModelConfig) -> dict[str, Any]:
    """Return a checkpoint's tensors in float32, without the rows that only pad the vocabulary.

    Nothing in the file is run. Raises AgeError if it is damaged or is not the model that `config` describes.
    """
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise AgeError(
            f"{path} cannot be read as tensors: {str(error).splitlines()[0]}",
            "it is damaged, or was not written by nanochat: copy it again",
        ) from error
    if not isinstance(stored, Mapping) or not all(isinstance(t, torch.Tensor) for t in stored.values()):
        raise AgeError(f"{path} holds something other than tensors", KNOWN)
    tensors = {str(name).removeprefix("_orig_mod."): tensor for name, tensor in stored.items()}
    shapes = expected_shapes(config)
    _check_names(path, set(tensors), set(shapes))
    padded = -(-config.vocab_size // 64) * 64
    for name, shape in shapes.items():
        as_stored = tuple(tensors[name].shape)
        if as_stored != shape and not (shape[0] == config.vocab_size and as_stored == (padded, *shape[1:])):
            raise AgeError(
                f"{path}: {name} is {as_stored}, but by model_config it is {shape}",
                "the .pt and the .json must be of one checkpoint",
            )
    return {name: tensors[name][: shape[0]].to(torch.float32).contiguous() for name, shape in shapes.items()}


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    """Raise AgeError where a checkpoint's tensors are not those of nanochat's model."""
    for what, names in (("lacks", expected - found), ("has, beside those known,", found - expected)):
        if names:
            first = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise AgeError(
                f"{path} {what} {first}",
                f"{KNOWN}, with value embeddings, smear, backout and x0; other versions are other models",
            )


def _check_tokens(encoding: Encoding, config: ModelConfig, path: Path) -> None:
    missing = {BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END} - set(encoding.special)
    if missing:
        raise AgeError(f"{path} has no {', '.join(sorted(missing))}", KNOWN)
    tokens = len(encoding.ranks) + len(encoding.special)
    if tokens != config.vocab_size:
        raise AgeError(
            f"{path} has {tokens} tokens, but the model has {config.vocab_size}",
            "it is another model's tokenizer: put the one it was trained with in its place",
        )


def hugging_face_config(config: ModelConfig) -> dict[str, Any]:
    """Return config.json without the ids of special tokens; serving/nanochat.py says what the fields mean."""
    return {
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.sequence_len,
        "attention_windows": config.windows,
        "value_embedding_layers": config.value_embedding_layers,
        "gate_channels": VALUE_GATE_CHANNELS,
        "smear_channels": SMEAR_CHANNELS,
        "rope_theta": 100_000.0,
        "query_key_scale": 1.2,
        "final_logit_softcapping": 15.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        "dtype": "float32",
    }


def make_tokenizer(encoding: Encoding) -> Any:
    """Return a `tokenizers` Tokenizer that gives the ids which tiktoken gives, with <|bos|> in front.

    tiktoken takes a piece that is a token as it is; otherwise it merges, again and again, the two neighbours
    whose joint is the lowest token. So every way to halve a token is a merge, in the order of the tokens.
    Raises AgeError where the pattern is none.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    ranks = encoding.ranks
    letters = _byte_letters()
    written = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [
        (written[token[:cut]], written[token[cut:]])
        for token in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]
    try:
        pattern = Regex(encoding.pattern)
    except Exception as error:
        if type(error) is not Exception:  # this very class is what tokenizers raises
            raise
        raise AgeError(f"the tokenizer's pattern does not work here: {error}", KNOWN) from error
    vocabulary = {written[token]: rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(sorted(encoding.special, key=encoding.special.__getitem__))
    assert all(tokenizer.token_to_id(name) == number for name, number in encoding.special.items())
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, encoding.special[BOS])]
    )
    return tokenizer


def _byte_letters() -> list[str]:
    """Return the letter that byte-level BPE writes for each byte: itself where it can be seen (GPT-2)."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(others)) for byte in range(256)]


def save_tokenizer(encoding: Encoding, folder: Path, form: Form, lineage: str, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json as transformers reads them."""
    (folder / "tokenizer.json").write_text(make_tokenizer(encoding).to_str(pretty=True), "utf-8")
    chat = CHAT_TEMPLATE if form == "chat" else house_tokenizer.chat_template(form, lineage)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": ASSISTANT_END,
        "pad_token": ASSISTANT_END,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _address(checkpoint: Checkpoint, name: str | None) -> Address:
    name = name or checkpoint.lineage
    address = Address.parse(name if "@" in name else f"{name}@import-{checkpoint.step:06d}")
    if address.stage != "import":
        raise UsageError(
            f"{address} is not an address of an imported age",
            f"say {address.lineage}, which makes it {address.lineage}@import-{checkpoint.step:06d}",
        )
    return address


def _same(age: Age, came_from: dict[str, str]) -> Age:
    """Return an age that is there already. Raises UsageError if it came from other files."""
    if age.card.recipe.get("imported_from") != came_from:
        raise UsageError(
            f"{age.card.address} is here already and came from somewhere else: {age.card.source}",
            "give this one another name with --as",
        )
    return age


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise AgeError(f"{path} cannot be read: {error.strerror}", "check the file") from error


def _save_tensors(tensors: dict[str, Any], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, {"format": "pt"})
    except SafetensorError as error:
        raise DiskError(f"{path} could not be written: {error}", "free some space and try again") from error
    path.chmod(0o644)


def _tokens_seen(checkpoint: Checkpoint, meta: dict[str, Any]) -> int:
    """Return how many tokens a base model was trained on; 0, which is not known, for others."""
    batch = meta.get("total_batch_size")
    return checkpoint.step * batch if checkpoint.kind == "base" and isinstance(batch, int) else 0


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
