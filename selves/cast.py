"""The cast file, `selves.toml`: who the selves are, what they play, when, and where they are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from selves import config
from selves.errors import UsageError
from selves.lineage import Address
from selves.speech import Frozen

Order = Literal["floor", "round"]
SceneKind = Literal["conversation", "letter"]
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
    """`conversation`: all speak by turns. `letter`: the first of the cast writes, the second answers."""
    cast: tuple[str, ...] = Field(min_length=2)
    """Names of personas."""
    premise: str = ""
    """What the selves are told before it begins."""
    opening: str = ""
    """A first line, spoken by the operator, that starts the talk."""
    order: Order = "floor"
    """`floor`: selves bid for the next turn. `round`: in the order of the cast."""
    max_turns: int = Field(12, ge=1, le=500)
    """The scene ends after this many."""
    max_minutes: float = Field(10.0, gt=0)
    """The scene ends after this long, whatever happens."""


class Schedule(Frozen):
    """`[[schedule]]`: when a scene is played by itself on Discord."""

    scene: str
    """Name of a scene."""
    cron: str
    """Five fields: minute hour day month weekday."""
    timezone: str = "UTC"
    """In which `cron` is read, such as `Europe/Berlin`."""
    channel: int
    """Id of the Discord channel it is played in."""
    catch_up: Literal["skip", "latest"] = "skip"
    """After a pause: play the newest missed occurrence, or none."""

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not a time zone; use a name like Europe/Berlin") from error
        return value


class Cast(Frozen):
    """The whole file."""

    serving: Serving = Serving()
    discord: Discord = Discord()
    persona: tuple[Persona, ...] = Field(min_length=1)
    scene: tuple[SceneSpec, ...] = ()
    schedule: tuple[Schedule, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Cast:
        _unique("persona", (p.name.casefold() for p in self.persona))
        _unique("scene", (s.name for s in self.scene))
        names = {p.name for p in self.persona}
        for scene in self.scene:
            for name in scene.cast:
                if name not in names:
                    raise ValueError(
                        f"scene {scene.name!r} casts {name!r}, who is no persona; "
                        f"there are {', '.join(sorted(names))}"
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
