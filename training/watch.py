"""What a person sees while a self grows up: a progress bar, each age as it is kept, and some of its words.

On a terminal it is a live bar; elsewhere a line every ten seconds. All of it goes to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from selves.lineage import AgeCard
from selves.speech import Writing

LINE_EVERY_S = 10.0
SHOWN_CHARACTERS = 90


class Watch:
    """Tells the story of a run on a console; `Watch(None)` is silent."""

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._line_at = 0.0
        self._stage, self._steps = "", 0

    def tell(self, line: str) -> None:
        """Say one thing that happens."""
        if self.console:
            self.console.print(line, style="dim", markup=False, highlight=False)

    def warn(self, line: str) -> None:
        """Say something that the person should know."""
        if self.console:
            self.console.print(line, style="yellow", markup=False, highlight=False)

    @contextmanager
    def stage(self, name: str, steps: int, done: int) -> Iterator[None]:
        """Show progress through one stage."""
        self._stage, self._steps, self._line_at = name, steps, time.monotonic()
        if self.console and self.console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=8),  # all of it has to fit into 80 columns
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[facts]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
            )
            with Progress(*columns, console=self.console, speed_estimate_period=20) as self._bar:
                self._task = self._bar.add_task(name, total=steps, completed=done, facts="")
                yield
            self._bar = self._task = None
        else:
            yield

    def step(
        self,
        step: int,
        loss: float,
        bits_per_byte: float,
        tokens_per_s: float,
        mfu: float,
        next_age: int | None,
    ) -> None:
        """Show where the run is after a step; `mfu` is the share of the machine's peak that is used."""
        facts = f"loss {loss:.2f}  {bits_per_byte:.2f} bits/byte  {tokens_per_s / 1000:.1f}k tok/s"
        facts += f"  {mfu:.0%} mfu"
        if next_age:
            facts += f"  next {next_age}"
        self.progress(step, facts)

    def progress(self, step: int, facts: str) -> None:
        """Show how many steps are done, and something about the last of them."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, facts=facts)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            self.tell(f"{self._stage} {step}/{self._steps}  {facts}")

    def age(self, card: AgeCard, writings: list[Writing]) -> None:
        """Announce an age that is on disk, with what it wrote."""
        if self.console:
            measured = f"{card.bits_per_byte:.3f} bits/byte" if card.bits_per_byte is not None else ""
            self.console.print(
                f"[bold green]kept[/] [bold]{escape(card.address)}[/]  {measured}", highlight=False
            )
            for writing in writings:
                if writing.number == 0 and writing.kind == "diary":
                    begun = writing.utterance.prompt.text.rpartition("> ")[2]
                    self.words(f"{begun}{writing.utterance.text}" if begun else writing.utterance.text)

    def words(self, text: str) -> None:
        """Show something it said."""
        if self.console:
            said = " ".join(text.split()).encode("utf-8", "replace").decode()
            shown = said if len(said) <= SHOWN_CHARACTERS else said[: SHOWN_CHARACTERS - 1] + "…"
            self.console.print(f"  [italic cyan]“{escape(shown)}”", highlight=False)
