"""What a self may write, and on which occasions: a small TOML that users extend (`training/kinds.toml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from selves import config
from selves.errors import ConfigError
from selves.speech import WRITING_KIND_PATTERN, ChatMessage, Form, Frozen, Prompt
from training.recipe import Diary

Occasion = Literal[
    "birth", "age", "last", "before", "after", "spike", "divergence", "recovery", "best", "asked"
]
"""`birth`: the first weights. `age`: one is kept. `last`: the end of a stage. `before`, `after`: when
post-training begins, and is done. `spike`, `divergence`, `recovery`, `best`: what befell the loss
(training/course.py). `asked`: somebody wanted it."""
OWN_FILE = Path(__file__).with_name("kinds.toml")
TURN_ENDS = ("\n\n", "\n<")
"""Where a text that is continued ends: it says no more, or another speaks."""


class Kind(Frozen):
    """`[kind.NAME]`: one kind of writing."""

    begin: str = Field(min_length=1)
    """What an age that only continues text is given, after its own name."""
    ask: str = ""
    """What an age that takes turns is asked."""
    when: tuple[Occasion, ...] = ()
    """On which occasions; none: on all."""
    to: Literal["", "future", "past"] = ""
    """For a letter: the next age that will exist, or the one before."""
    plain: bool = False
    """Every age continues `begin`, without its name; so what ages write can be compared."""
    tokens: int = Field(0, ge=0, le=4096)
    """At most so many; 0: [diary]'s max_tokens."""
    temperature: float | None = Field(None, ge=0, le=5)
    """None: [diary]'s."""
    stop: tuple[str, ...] = TURN_ENDS
    """Where an age that continues text ends."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Kind:
        if not self.ask and not self.plain:
            raise ValueError("it needs `ask`, for ages that take turns; or say plain = true")
        return self

    def fits(self, occasion: Occasion) -> bool:
        """Whether it is written then. What is asked for always is."""
        return not self.when or occasion == "asked" or occasion in self.when


Name = Annotated[str, StringConstraints(pattern=rf"^{WRITING_KIND_PATTERN}$")]


class KindsFile(Frozen):
    """A whole file."""

    kind: dict[Name, Kind]


@cache
def own_kinds() -> Mapping[str, Kind]:
    """Return the house's kinds, in the order of their file."""
    return config.load(OWN_FILE, KindsFile).kind


def all_kinds(file: str = "") -> Mapping[str, Kind]:
    """Return the house's kinds and a user's, who may replace some. Raises ConfigError naming line and key."""
    return {**own_kinds(), **(config.load(Path(file), KindsFile).kind if file else {})}


def choose(names: Sequence[str], file: str = "") -> dict[str, Kind]:
    """Return the kinds of these names, in their order; no names: all there are. Raises ConfigError."""
    known = all_kinds(file)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no kind of writing called {name!r}",
                f"there are {', '.join(known)}; `selves diary kinds` shows how to add one",
            )
    return {name: known[name] for name in names or known}


WORDED = {
    "diary": ("diary", "begin"),
    "ask_diary": ("diary", "ask"),
    "letter": ("letter", "begin"),
    "ask_letter": ("letter", "ask"),
    "continuation": ("continuation", "begin"),
}
"""Keys of [diary] that word a kind anew: the kind, and what of it."""


def kinds_of(diary: Diary) -> dict[str, Kind]:
    """Return the kinds that a recipe wants, in its own words where it has some. Raises ConfigError."""
    wanted = choose(diary.kinds, diary.file)
    for key, (name, part) in WORDED.items():
        words = getattr(diary, key)
        if name in wanted and words != Diary.model_fields[key].default:
            wanted[name] = wanted[name].model_copy(update={part: words})
    return wanted


def frame(kind: Kind, form: Form, name: str) -> Prompt:
    """Return what an age is given to write: a beginning, or for a chat age a question (pure)."""
    if kind.plain:
        return Prompt(form="transcript", text=kind.begin)
    if form == "chat":
        return Prompt(form="chat", messages=(ChatMessage(role="user", content=kind.ask),))
    return Prompt(form="transcript", text=f"<{name}> {kind.begin}" if name else kind.begin)
