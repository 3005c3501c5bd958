"""What happens while a self grows up, told to functions of yours; some events are worth an age of their own.

A callback is one function in a file of yours, named in a recipe, here in `mine.py` beside it:

    from training.events import Moment

    def shout(moment: Moment) -> bool | None:
        if moment.kind == "age" and moment.bits_per_byte is not None:
            print(f"{moment.address} has {moment.bits_per_byte:.2f} bits per byte")
        return moment.kind == "step" and moment.step == 123      # True: keep an age now

    callbacks = ["mine:shout", "training.events:spike", "training.loggers:TensorBoard"]

A class is made once for each stage, without arguments, and then called. Callbacks run in the training process
(of several, on rank 0). Nothing of theirs enters the weights, so a recipe may gain and lose them at any time.
One that raises ends the run with its name; the run goes on when it is repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selves.errors import TrainingError, UsageError
from selves.lineage import AgeCard
from selves.speech import Writing
from training.documents import import_named

TENSORBOARD_FOLDER = "tensorboard"
"""In a lineage's folder."""
SPIKE_NATS = 1.0
SPIKE_AFTER = 20


Kind = Literal["begin", "step", "log", "age", "end"]


@dataclass(frozen=True)
class Moment:
    """One moment of a run."""

    kind: Kind
    """`begin` and `end` of a stage, every `step`, those that are in metrics.jsonl (`log`), and ages."""
    lineage: str
    stage: str
    step: int
    """Of this stage, from 1; at `begin` how many were done before."""
    steps: int
    tokens: int
    """Read in all of its life."""
    elapsed_s: float
    """Spent training in this stage."""
    loss: float | None
    """Nats per token of this step alone."""
    smooth_loss: float | None
    """Averaged over about the last twenty steps, this one included."""
    tokens_per_s: float
    mfu: float | None
    """Share of this machine's measured peak rate of matrix products."""
    folder: Path
    """The lineage's: `metrics.jsonl` and all ages are in it."""
    last_age_step: int
    """When the last age of this stage was kept; -1 before the first."""
    bits_per_byte: float | None = None
    """On held-out text, at ages."""
    card: AgeCard | None = None
    writings: tuple[Writing, ...] = ()
    recipe: dict[str, Any] | None = None

    @property
    def address(self) -> str:
        """The age's, at an age."""
        return self.card.address if self.card else ""


Callback = Callable[[Moment], object]


def spike(moment: Moment) -> bool:
    """Keep an age when the loss jumps by a nat, but not twice within twenty steps."""
    if moment.kind != "step" or moment.loss is None or moment.smooth_loss is None:
        return False
    settled = moment.step > SPIKE_AFTER and moment.step - moment.last_age_step > SPIKE_AFTER
    return settled and moment.loss > moment.smooth_loss + SPIKE_NATS


def load_callbacks(names: tuple[str, ...]) -> list[tuple[str, Callback]]:
    """Import what a recipe names. Raises UsageError if there is no such function."""
    found: list[tuple[str, Callback]] = []
    for name in names:
        callback = import_named(name)
        try:
            found.append((name, callback() if isinstance(callback, type) else callback))
        except UsageError:
            raise
        except Exception as error:  # whatever a person's own class does
            raise UsageError(f"the callback {name} cannot be made: {error!r}", "correct it") from error
    return found


def tell(callbacks: list[tuple[str, Callback]], moment: Moment) -> bool:
    """Call all; return whether one wants this step's age kept. Raises TrainingError naming one that fails."""
    wanted = False
    for name, callback in callbacks:
        try:
            wanted = bool(callback(moment)) or wanted
        except Exception as error:  # a user's own code may raise anything
            raise TrainingError(
                f"the callback {name} failed at {moment.stage} {moment.step}: {error!r}",
                "repair it or take it out of the recipe; the same command goes on from the last kept state",
            ) from error
    return wanted and moment.kind == "step"
