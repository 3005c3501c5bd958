"""The cast file, `selves.toml`: who the selves are, what they play, when, and where they are served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from selves import config
from selves.errors import UsageError
from selves.lineage import Address
from selves.speech import Frozen

Order = Literal["floor", "round", "bids"]
SceneKind = Literal[
    "conversation",
    "letter",
    "answer",
    "interview",
    "debate",
    "retelling",
    "shadow",
    "eulogy",
    "dream",
    "audience",
    "chatter",
]
CAST_SIZES: Mapping[SceneKind, tuple[int, int]] = {
    "conversation": (2, 99),
    "letter": (1, 99),
    "answer": (1, 1),
    "interview": (2, 99),
    "debate": (3, 99),
    "retelling": (1, 99),
    "shadow": (2, 2),
    "eulogy": (2, 99),
    "dream": (1, 99),
    "audience": (2, 99),
    "chatter": (2, 99),
}
"""How many a scene of each kind casts, at least and at most."""
Dtype = Literal["auto", "float32", "bfloat16", "int8"]


class Serving(Frozen):
    """`[serving]`: where the engine listens and how it runs."""

    host: str = "127.0.0.1"
    """Address to listen on. Set SELVES_API_KEY before opening it to others with `0.0.0.0`."""
    port: int = Field(8640, ge=1, le=65535)
    """The OpenAI API is at http://HOST:PORT/v1."""
    engine: Literal["auto", "embedded", "vllm"] = "auto"
    """`embedded` needs nothing else; `vllm` puts what it can on vLLM; `auto` does so where that pays."""
    vllm: str = ""
    """The `vllm` program of its own environment, such as `.vllm/bin/vllm`, or the URL of one elsewhere."""
    vllm_args: tuple[str, ...] = ()
    """Further arguments of every vLLM, such as `["--distributed-executor-backend", "ray"]`."""
    tensor_parallel: int = Field(0, ge=0)
    """Devices that each layer of a model on vLLM is spread over; 0: as few as it needs."""
    pipeline_parallel: int = Field(0, ge=0)
    """Groups of devices that the layers are dealt out to; 0: as few as it needs."""
    data_parallel: int = Field(1, ge=1)
    """Copies of each model on vLLM, each on devices of its own."""
    lora_slots: int = Field(4, ge=0)
    """Adapters that one vLLM computes with at the same time; 0: none, the embedded engine has them all."""
    lora_rank: int = Field(16, ge=1, le=512)
    """Rank up to which adapters that appear later fit on a vLLM that runs."""
    sleep_minutes: float = Field(0, ge=0)
    """After so long without a request a vLLM on a GPU gives its memory back until it is asked; 0: never."""
    hot: int = Field(0, ge=0)
    """How many ages the embedded engine keeps in memory at most; 0: as many as `memory_gb` has room for."""
    memory_gb: float = Field(0, ge=0)
    """What the embedded engine may take for weights and for what was said; 0: half of what is free."""
    dtype: Dtype = "auto"
    """What the embedded engine keeps weights in; `auto`: as the age was kept, if the processor is fast with
    it; `int8`: rounded, for the families that the engine runs itself.
    """
    threads: int = Field(0, ge=0)
    """CPU threads of the embedded engine; 0 means cores minus one."""


class Discord(Frozen):
    """`[discord]`: names of environment variables that hold tokens, and where selves may speak."""

    registrar_token: str = "SELVES_REGISTRAR_TOKEN"
    """Name of the environment variable with the token of the bot that listens."""
    channels: tuple[int, ...] = ()
    """Ids of channels the selves listen and speak in. All others are ignored."""
    guests: bool = False
    """Selves without a token speak through a webhook of the registrar, which needs Manage Webhooks for it."""
    hear: Literal["all", "consenting"] = "consenting"
    """What is heard in them: `consenting`: what is said to a self, and what people say who allowed it with
    `/consent`. `all`: everything but what people say who refused. `/config` sets it for each channel.
    """
    notice: bool = True
    """Whether the registrar tells in each channel, once, what is heard and kept there."""
    news: int = Field(0, ge=0)
    """Id of a channel in which the registrar tells who joined the cast, is another age now, or has left."""


class PersonaSampling(Frozen):
    """`[persona.sampling]`: how this self's tokens are drawn, where it differs from the default."""

    max_tokens: int = Field(80, ge=1, le=4096)
    """Of one line."""
    temperature: float = Field(0.8, ge=0, le=5)
    """0: always the likeliest token. Higher: wilder."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Only the likeliest tokens that together have this probability are drawn from."""
    repetition_penalty: float = Field(1.1, ge=0.5, le=3)
    """Above 1: tokens that were used already become less likely."""


class Persona(Frozen):
    """`[[persona]]`: one self, which is one lineage at one age with a name."""

    name: str = Field(min_length=1, max_length=32)
    """What others call it."""
    address: str
    """Which age it is, such as `ember@base-000400`; `selves ages list` shows them all."""
    about: str = ""
    """Who it is, in a sentence or two. A chat self is told this; a base self is not."""
    color: str = "white"
    """Any CSS colour name or #rrggbb; used in the terminal and on pages."""
    talkativeness: float = Field(0.5, ge=0, le=1)
    """How often it takes the floor when nobody was asked by name."""
    age_restricted: bool = False
    """Whether it speaks only where Discord marks a channel as age-restricted (and in the terminal)."""
    token: str = ""
    """Name of the environment variable with its Discord bot token; empty: not on Discord."""
    sampling: PersonaSampling = PersonaSampling()

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            Address.parse(value)
        except UsageError as error:
            raise ValueError(f"{error.problem}; {error.fix}") from error
        return value

    @field_validator("name")
    @classmethod
    def _is_a_speakable_name(cls, value: str) -> str:
        if not re.fullmatch(r"[^\W_](?:[\w' -]*\w)?", value):
            raise ValueError(f"{value!r} is not a name: use letters, digits, spaces, ' and -")
        return value

    @field_validator("token")
    @classmethod
    def _is_the_name_of_a_variable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value):
            raise ValueError("this must be the NAME of an environment variable, never the token itself")
        return value


class SceneSpec(Frozen):
    """`[[scene]]`: one conversation to be played, as data."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Lower-case letters, digits and `-`."""
    kind: SceneKind = "conversation"
    """`conversation`, `letter`, `interview`, `debate`, `retelling`, `shadow`, `eulogy`, `dream`, `audience`,
    `chatter`: `selves scene kinds` says what each is. (`answer` is the house's own: a letter that answers.)
    """
    cast: tuple[str, ...] = Field(min_length=1)
    """Names of personas. In most kinds the first has a part of its own, in a debate also the last."""
    premise: str = ""
    """What the selves are told before it begins; each kind has one of its own."""
    premises: Mapping[str, str] = {}
    """What a self alone is told beside that, by its name."""
    opening: str = ""
    """A first line, spoken by the operator, that starts the talk; a retelling's story."""
    to: str = ""
    """To whom a letter goes that one self writes alone: `future` (the next age of its lineage), or an
    address. It is answered when that age is there.
    """
    order: Order = "floor"
    """`floor`: selves bid for the next turn. `bids`: so too, and those that continue transcripts say whom
    they expect next. `round`: in the order of the cast. Kinds with parts have an order of their own.
    """
    max_turns: int = Field(12, ge=1, le=500)
    """The scene ends after this many."""
    max_minutes: float = Field(10.0, gt=0)
    """The scene ends after this long, whatever happens."""
    max_tokens: int = Field(0, ge=0)
    """The scene ends when so many tokens were drawn, candidates too; 0: no limit."""
    until: tuple[str, ...] = ()
    """The scene ends when a self says one of these words or phrases, such as `["goodbye"]`."""
    pause_s: float = Field(0.0, ge=0, le=3600)
    """How long selves wait between two lines, on average."""
    branching: float = Field(0.0, ge=0, lt=1)
    """How many lines a line brings forth, on average. Above 0 it decides how long the talk is: mostly short,
    1 / (1 - branching) lines on average. Below 1, because talk would never end otherwise.
    """

    @model_validator(mode="after")
    def _has_a_fitting_cast(self) -> SceneSpec:
        least, most = CAST_SIZES[self.kind]
        if self.kind == "letter":
            least, most = (1, 1) if self.to else (2, most)
        if not least <= len(self.cast) <= most:
            few = f"{least}" if least == most else f"at least {least}"
            whose = " to the future or to an address" if self.to else ""
            raise ValueError(f"a scene of kind {self.kind!r}{whose} casts {few}, not {len(self.cast)}")
        if self.to and self.kind not in ("letter", "answer"):
            raise ValueError(f"`to` is for letters, not for a scene of kind {self.kind!r}")
        if self.to not in ("", "future"):
            try:
                Address.parse(self.to)
            except UsageError as error:
                raise ValueError(f"`to` is `future` or an address: {error.problem}") from error
        if self.branching and self.kind not in ("conversation", "chatter"):
            raise ValueError(f"`branching` is for conversations and chatter, not for a {self.kind}")
        if self.kind == "retelling" and not self.opening:
            raise ValueError("a retelling needs a story: write it as `opening`")
        for name in self.premises:
            if name not in self.cast:
                raise ValueError(f"`premises` tells {name!r} something, who is not in the cast of this scene")
        return self


class Schedule(Frozen):
    """`[[schedule]]`: when a scene plays by itself on Discord; one of `cron`, `every_minutes`, `per_day`."""

    scene: str
    """Name of a scene."""
    cron: str = ""
    """Five fields: minute hour day month weekday."""
    every_minutes: float = Field(0, ge=0)
    """Again and again, counted from midnight (UTC) of the first of January 1970."""
    per_day: float = Field(0, ge=0, le=200)
    """So many times a day on average, whenever it comes: for chatter."""
    jitter_minutes: float = Field(0, ge=0, le=720)
    """Each time comes up to so much later, drawn by the dice."""
    timezone: config.TimeZone = "UTC"
    """In which `cron` and `quiet` are read, such as `Europe/Berlin`."""
    quiet: tuple[str, ...] = ()
    """Hours in which nothing is begun, such as `["22:00-08:00"]`."""
    channel: int
    """Id of the Discord channel it is played in."""
    catch_up: Literal["skip", "latest", "all"] = "skip"
    """After a pause: play no missed occurrence, the newest, or all (the newest 20)."""

    @field_validator("quiet")
    @classmethod
    def _are_hours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for span in value:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", span):
                raise ValueError(f"{span!r} is no span of hours; write it as 22:00-08:00")
        return value

    @model_validator(mode="after")
    def _has_one_rhythm(self) -> Schedule:
        if [bool(self.cron), bool(self.every_minutes), bool(self.per_day)].count(True) != 1:
            raise ValueError("a schedule has one of `cron`, `every_minutes` and `per_day`")
        if 0 < self.every_minutes < 1:
            raise ValueError("`every_minutes` is at least 1")
        return self


class Budget(Frozen):
    """`[budget]`: tokens that selves may draw on a day (in UTC), candidates too; 0: no limit."""

    all_per_day: int = Field(0, ge=0)
    """Of all selves, everywhere."""
    self_per_day: int = Field(0, ge=0)
    """Of each self, everywhere."""
    channel_per_day: int = Field(0, ge=0)
    """Of all selves in one place: a Discord channel, or the terminal."""


class Filter(Frozen):
    """`[filter]`: what no self may say; a sample that does is kept, and never posted."""

    words: tuple[str, ...] = ()
    """Words and phrases, in any case; `*` at an end stands for any letters: `slur*`."""
    words_file: str = ""
    """A text file with more of them, one on each line, lines that begin with `#` left out."""
    function: str = ""
    """A function of yours, `module:function`: it is given the text and the self's name, and returns why the
    text may not be posted, or nothing.
    """

    @field_validator("function")
    @classmethod
    def _is_a_function(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
            raise ValueError(f"{value!r} names no function; write it as module:function")
        return value


class DiaryTimes(Frozen):
    """`[diary]`: when a day is over, and who writes about it by themselves."""

    timezone: config.TimeZone = "UTC"
    """Whose midnight parts the days, such as `Europe/Berlin`."""
    at: str = Field("", pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")
    """From this time on, `selves bots run` has the day before written, and after its last day each week and
    month; such as `04:00`. Empty: only `selves diary day` writes.
    """
    who: tuple[str, ...] = ()
    """Names of selves; none: all of the cast."""


class Cast(Frozen):
    """The whole file."""

    serving: Serving = Serving()
    discord: Discord = Discord()
    persona: tuple[Persona, ...] = Field(min_length=1)
    scene: tuple[SceneSpec, ...] = ()
    schedule: tuple[Schedule, ...] = ()
    budget: Budget = Budget()
    filter: Filter = Filter()
    diary: DiaryTimes = DiaryTimes()

    @model_validator(mode="after")
    def _names_agree(self) -> Cast:
        _unique("persona", (p.name.casefold() for p in self.persona))
        _unique("scene", (s.name for s in self.scene))
        names = {p.name for p in self.persona}
        for scene in self.scene:
            if scene.kind == "answer":
                raise ValueError(
                    f"scene {scene.name!r} is an answer; a letter with `to` is answered by itself"
                )
            for name in scene.cast:
                if name not in names:
                    raise ValueError(
                        f"scene {scene.name!r} casts {name!r}, who is no persona; "
                        f"there are {', '.join(sorted(names))}"
                    )
        for name in self.diary.who:
            if name not in names:
                raise ValueError(
                    f"[diary] names {name!r}, who is no persona; there are {', '.join(sorted(names))}"
                )
        scenes = {s.name for s in self.scene}
        for schedule in self.schedule:
            if schedule.scene not in scenes:
                raise ValueError(f"a schedule plays {schedule.scene!r}, which is no scene")
        return self

    def find_persona(self, name: str) -> Persona:
        """Return the persona with this name or address, ignoring case. Raises UsageError."""
        for persona in self.persona:
            if name.casefold() in (persona.name.casefold(), persona.address):
                return persona
        raise UsageError(
            f"nobody is called {name!r}", f"the cast is {', '.join(p.name for p in self.persona)}"
        )

    def find_scene(self, name: str) -> SceneSpec:
        """Return the scene with this name. Raises UsageError."""
        for scene in self.scene:
            if scene.name == name:
                return scene
        known = ", ".join(s.name for s in self.scene) or "none yet"
        raise UsageError(f"there is no scene {name!r}", f"the cast file's scenes are: {known}")


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two {what}s are called {name!r}")
        seen.add(name)


def load_cast(path: Path) -> Cast:
    """Read a cast file. Raises ConfigError naming file, line, key and fix."""
    return config.load(path, Cast)


def load_cast_or_empty(path: Path) -> Cast | None:
    """Read the cast file if there is one; commands that only need the serving address work without."""
    return load_cast(path) if path.exists() else None
