"""What happens beside a trainer's steps: when to log and save, ages on the ladder, Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from training import parallel
from training.post.trainers import cycle

if TYPE_CHECKING:
    from training.post.run import Run


class Follower(TrainerCallback):
    """Follows one trainer; transformers calls its methods."""

    def __init__(self, run: Run, until: int) -> None:
        """`until`: the step after whose age no more is done, though the recipe may go on from it later."""
        self.run, self.until = run, until
        self.asked = threading.Event()
        self.saved_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for what is due. Losses are averaged between two lines of the log, so a state to go on from is
        kept only where a line ends, and every age ends one; and only where answers are used up."""
        age = state.global_step in self.run.recipe.age_steps
        line_ends = age or state.global_step % state.logging_steps == 0
        if not line_ends:
            return
        due = time.monotonic() - self.saved_at >= self.run.state_every_s
        due, asked = parallel.told((due, self.asked.is_set()), self.run.world)
        exact = state.global_step % cycle(args) == 0
        if age:
            control.should_log = True
        if exact and (age or due or asked):
            control.should_save = True
        if (exact and asked) or state.global_step >= self.until:
            control.should_training_stop = True

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self.run.logged(state.global_step, logs or {})
        if state.global_step in self.run.recipe.age_steps and state.global_step % cycle(args):
            self.run.keep(state.global_step)

    def on_save(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self.run.saved(state.global_step)
        self.saved_at = time.monotonic()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C stop the run when a state to go on from is kept; a second one breaks off at once.

        Of several processes it stops all at once: the launcher does not wait for them.
        """
        if self.run.world.size > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(_signal: int, _frame: object) -> None:
            if self.asked.is_set():
                raise KeyboardInterrupt
            self.asked.set()

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
