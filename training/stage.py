"""What makes one stage of training different from another, and what it is computed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from selves.lineage import Age, age_name
from selves.speech import Form
from training.parallel import How, World


class Machine(NamedTuple):
    """What a run is computed on."""

    world: World = World()
    threads: int = 1
    """CPU threads of each process."""
    how: How = "auto"


class Stage(NamedTuple):
    """What makes one stage different from another."""

    name: str
    steps: int
    batch_tokens: int
    age_steps: tuple[int, ...]
    """Steps after which an age is kept; the last is `steps`."""
    form: Form
    batch: Callable[[int], tuple[Tensor, Tensor]]
    """Inputs and targets (B, T) of a step, on the CPU; a pure function of the step."""
    rates: tuple[float, float, float]
    """Learning rates of matrices, embedding and the rest."""
    warmup: float
    decay: float
    parent: Age | None
    """The age it begins from; None begins from random weights."""
    label: int | None = None
    """What its one age is called by, where that is not its number of steps: `young-000100`."""
    events: bool = False
    """Whether callbacks may have ages kept between those of `age_steps`."""

    @property
    def key(self) -> str:
        """Its name in the training state and in metrics.jsonl."""
        return self.name if self.label is None else age_name(self.name, self.label)

    def age_name(self, step: int) -> str:
        """Return the name of the age that is kept after `step`."""
        return age_name(self.name, step if self.label is None else self.label)
