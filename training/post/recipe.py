"""recipes/post/*.toml -> PostRecipe: one file that fully describes how an age becomes another self."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from selves import config
from selves.lineage import ADDRESS_PATTERN, AGE_PATTERN, LINEAGE_PATTERN, texts_in
from selves.speech import Frozen
from training.recipe import Diary

Method = Literal["sft", "dpo", "kto", "grpo", "rloo", "distill", "sdft", "reward", "ageing", "merge"]
BY_REWARD = ("grpo", "rloo")
ON_POLICY = (*BY_REWARD, "distill", "sdft")
"""Methods by which it learns from its own answers."""
IN_WEIGHTS = ("ageing", "merge")
"""Methods that read no data: they work on the weights alone."""


TAKEN = ("base", "settled", "young", "chat", "import")
"""Stages of selves that are raised from scratch or brought in, whose ages nothing else may be among."""


class Data(Frozen):
    """`[[data]]`: one source of rows. Exactly one of file, folder, hub and function."""

    file: str = ""
    """A .jsonl or .parquet file, relative to where you are."""
    folder: str = ""
    """What `selves memory export` wrote: `data/train.jsonl`, and `data/test.jsonl` to be held out."""
    hub: str = ""
    """A Hugging Face data set."""
    revision: str = ""
    """For `hub`: a branch, tag or commit."""
    subset: str = ""
    """For `hub`: the data set's configuration, where it has several."""
    split: str = "train"
    """For `hub`."""
    function: str = ""
    """`module:function` that yields rows. It may take `seed`, and `say`: a function from messages to what the
    base answers; `say.many(talks, samples)` asks many at once. The module may lie where you are."""
    options: dict[str, Any] = Field(default_factory=dict)
    """For `function`: what else it is called with, by name."""
    limit: int = Field(0, ge=0)
    """At most so many rows; 0: all."""
    license: str = ""
    """Under which its rows may be used, such as CC-BY-4.0; it stands in the card of what learns from them."""
    show: int = Field(0, ge=0, le=20)
    """So many of its rows stand in that card, for others to see. None, if they are the words of people."""

    @model_validator(mode="after")
    def _is_one_source(self) -> Data:
        named = [key for key in ("file", "folder", "hub", "function") if getattr(self, key)]
        if len(named) != 1:
            raise ValueError(
                f"a source needs exactly one of file, folder, hub, function; "
                f"here: {', '.join(named) or 'none'}"
            )
        if self.options and not self.function:
            raise ValueError("only a function has options")
        if self.function and self.function.count(":") != 1:
            raise ValueError(f"{self.function!r} is not module:function")
        return self

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that its options name."""
        # a text may be too long to be a path, of which pathlib would complain
        return tuple(Path(text) for text in texts_in(self.options) if os.path.exists(text))  # noqa: PTH110

    def __str__(self) -> str:
        return self.file or self.folder or self.hub or self.function


class Lora(Frozen):
    """`[lora]`: learn a small addition to the weights (Hu et al. 2021), not all of them. Without it: all."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()
    """Names of the matrices, such as q_proj; none: all linear ones but the head."""


class Rewards(Frozen):
    """`[reward]`: for grpo and rloo, what is sampled and what it is worth."""

    functions: tuple[str, ...] = ()
    """`module:function`, batch in, floats out (training/post/rewards.py)."""
    weights: tuple[float, ...] = ()
    """One per function; none: all count alike."""
    group: int = Field(8, ge=2)
    """Answers to each prompt, which are compared with each other."""
    max_tokens: int = Field(64, ge=1)
    """Of an answer."""
    temperature: float = Field(1.0, gt=0, le=5)
    options: dict[str, Any] = Field(default_factory=dict)
    """What else the functions are called with, by name: each is given what it takes."""


class Distill(Frozen):
    """`[distill]`: who teaches, at every token of the self's own answers. Of `sdft` it is the base itself."""

    teacher: str = ""
    """For `distill`, an address: an age with the same tokens, such as an older one of the lineage."""
    reading: str = (
        "You kept these letters from the selves that you were:\n\n{privileged_context}\n\n"
        "Answer as the one who wrote them: {prompt}"
    )
    """For `sdft`: what the base is asked when it reads the column `privileged_context` beside the prompt."""
    max_tokens: int = Field(64, ge=1)
    """Of an answer."""
    temperature: float = Field(1.0, gt=0, le=5)

    @field_validator("reading")
    @classmethod
    def _shows_both(cls, value: str) -> str:
        for name in ("{prompt}", "{privileged_context}"):
            if value.count(name) != 1:
                raise ValueError(f"{name} stands in `reading` once")
        try:
            value.format(prompt="", privileged_context="")
        except (LookupError, ValueError) as error:
            raise ValueError(f"`reading` has a brace that means nothing: {error}") from error
        return value


class Probes(Frozen):
    """`[probes]`: what is measured before and after, besides the rows that were held out."""

    suites: tuple[str, ...] = ()
    """Suites of `selves evals`, and your own as `module:function`."""
    traits: tuple[str, ...] = ()
    """Traits of `selves train traits`, and your own as `module:name`."""
    items: int = Field(100, ge=1, le=100_000)
    """Of each suite, and at most so many held-out rows."""
    at_ages: bool = False
    """Measure every age on the ladder, not the last alone."""
    rewards: tuple[str, ...] = ()
    """`module:function`: what greedy answers to held-out rows are worth, by whatever method it learns.
    Nothing is learned from these."""


class Ageing(Frozen):
    """`[ageing]`: ages spaced evenly in what is still likely to them, down to `until` of the way."""

    toward: str = "init"
    """What the weights are drawn to: `init`, random weights as this model's makers begin with; `noise`, noise
    that has each matrix' own spread is added; or an address, such as its own birth."""
    by: Literal["words", "answers"] = "words"
    """What is likely or not: its own words from before, or right answers to the suites of [probes]."""
    ages: int = Field(8, ge=1, le=1000)
    until: float = Field(0.15, gt=0, le=1)
    """How far the last age goes: 1 is all the way."""


class Merge(Frozen):
    """`[merge]`: the mean of the weights of several ages; alone, an adapter is folded into its base."""

    others: tuple[str, ...] = ()
    """Addresses of full ages of the same shape as the base."""
    weights: tuple[float, ...] = ()
    """One for the base, one for each other; none: all count alike."""


class Days(Frozen):
    """`[days]`: ages come one by one, each on a day of its own; the command makes those that have come."""

    begins: date
    """The day of the first age."""
    timezone: config.TimeZone = "UTC"
    """In which days begin, such as `Europe/Berlin`."""
    persona: str = ""
    """Who lives by it: its address in the cast file becomes that of the newest age that has come."""


class PostRecipe(Frozen):
    """The whole file."""

    lineage: str = Field(pattern=rf"^{LINEAGE_PATTERN}$")
    """Name of the self that comes of it."""
    base: str
    """The age it begins as: an address, a folder with a model, or the name of one on the Hugging Face Hub."""
    method: Method
    stage: str = ""
    """What its ages are called, `lineage@stage-step`; the method if not stated."""
    seed: int = Field(1, ge=0, lt=2**31)
    steps: int = Field(100, ge=1)
    batch: int = Field(8, ge=1)
    """Rows per step; for grpo and rloo answers, a multiple of `group`."""
    micro_batch: int = Field(0, ge=0)
    """Rows that are read at once, a divisor of `batch`; 0: all of them."""
    rate: float = Field(0.0, ge=0, le=1)
    """Learning rate; 0: what is usual for the method, ten times that for [lora]."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    beta: float | None = Field(None, ge=0)
    """How much it is held to the base: dpo and kto 0.1, grpo and rloo 0.04, if not stated. Of distill
    and sdft: from 0, all that the teacher might say, to 1 (if not stated), what it is likeliest to say."""
    max_tokens: int = Field(0, ge=0)
    """Longer rows are cut; 0: as much as the age can look back on, at most 1024."""
    ages: int = Field(1, ge=1)
    """How many are kept: the last step, and each time half as many steps before it."""
    keep: Literal["adapter", "merged"] = "adapter"
    """With [lora]: keep what was added alone, for engines that put it on, or whole models."""
    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of the rows that is measured with and not learned, where a source has no such part."""
    template: str = ""
    """A file with a Jinja chat template, where the base has none or another is wanted."""
    age_restricted: bool = False
    """Mark what comes of this: it then speaks only in channels that Discord marks as age-restricted, also
    where a cast does not say so. What comes of a marked age is marked by itself."""
    report_to: tuple[str, ...] = ()
    """Where curves go besides metrics.jsonl: `tensorboard`, `trackio` and others that transformers knows."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """`[trl]`: any other setting of TRL's configuration for the method, by its name."""
    lora: Lora | None = None
    data: tuple[Data, ...] = ()
    reward: Rewards = Rewards()
    distill: Distill = Distill()
    probes: Probes = Probes()
    ageing: Ageing = Ageing()
    merge: Merge = Merge()
    days: Days | None = None
    diary: Diary = Diary()

    @model_validator(mode="after")
    def _agrees(self) -> PostRecipe:
        if not self.data and self.method not in IN_WEIGHTS:
            raise ValueError(f"{self.method} needs a [[data]] table")
        if self.method == "distill" and not self.distill.teacher:
            raise ValueError("distill needs a `teacher` in [distill]")
        if self.lora and self.method in IN_WEIGHTS:
            raise ValueError(f"{self.method} works on whole models: leave [lora] out")
        if self.batch % self.micro:
            raise ValueError(f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}")
        if self.method in BY_REWARD:
            if not self.reward.functions:
                raise ValueError(f"{self.method} needs `functions` in [reward]")
            if self.batch % self.reward.group:
                raise ValueError(f"batch {self.batch} is not a multiple of reward.group {self.reward.group}")
            if self.reward.weights and len(self.reward.weights) != len(self.reward.functions):
                raise ValueError("reward.weights are as many as reward.functions")
        for name in (*self.reward.functions, *self.probes.rewards):
            if name.count(":") != 1:
                raise ValueError(f"the reward {name!r} is not module:function")
        if self.merge.weights and not sum(self.merge.weights) > 0:
            raise ValueError("merge.weights sum to more than 0")
        if self.merge.weights and len(self.merge.weights) != len(self.merge.others) + 1:
            raise ValueError("merge.weights are one more than merge.others: the base's is first")
        if not _is_stage(self.stage_name):
            raise ValueError(f"stage {self.stage!r} is not a-z and 0-9")
        if self.stage in TAKEN:
            raise ValueError(f"stage {self.stage!r} is of a self that is raised or brought in: name another")
        return self

    @property
    def stage_name(self) -> str:
        return self.stage or self.method

    @property
    def micro(self) -> int:
        return self.micro_batch or self.batch

    @property
    def answer_tokens(self) -> int:
        """How many tokens are kept free for its own answers."""
        if self.method in BY_REWARD:
            return self.reward.max_tokens
        return self.distill.max_tokens if self.method in ON_POLICY else 0

    @property
    def addresses(self) -> tuple[str, ...]:
        """All ages that it names: its base, teachers, listeners, judges, what it is drawn toward."""
        said = texts_in(self.model_dump(mode="json"))
        return tuple(dict.fromkeys(text for text in said if re.fullmatch(ADDRESS_PATTERN, text)))

    @property
    def age_steps(self) -> tuple[int, ...]:
        """Steps after which an age is kept, in order; of ageing, the numbers of its ages."""
        if self.method == "ageing":
            return tuple(range(1, self.ageing.ages + 1))
        if self.method == "merge":
            return (1,)
        return tuple(sorted({self.steps >> n for n in range(self.ages)} - {0}))


IDLE = ("probes", "report_to", "micro_batch", "days")
"""Keys that do not decide who the self becomes, so they may change while it is trained."""


def load_post_recipe(path: Path) -> PostRecipe:
    """Read a recipe. Raises ConfigError naming file, line, key and fix."""
    return config.load(path, PostRecipe)


def _is_stage(name: str) -> bool:
    return re.fullmatch(AGE_PATTERN, f"{name}-000000") is not None
