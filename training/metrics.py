"""What is said of a run while it runs: metrics.jsonl, the progress line, and the moments of callbacks."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from selves.files import disk_error, write_file
from selves.lineage import METRICS_FILE, AgeCard
from selves.speech import Writing
from training import events
from training.checkpoint import Progress
from training.events import Callback, Kind, Moment
from training.recipe import Recipe
from training.shape import Shape, flops_per_token
from training.shards import Corpus
from training.stage import Stage
from training.watch import Watch


class Metrics:
    """The account of one stage; lives in the one process that writes."""

    def __init__(
        self,
        stage: Stage,
        recipe: Recipe,
        corpus: Corpus,
        folder: Path,
        watch: Watch,
        callbacks: list[tuple[str, Callback]],
    ) -> None:
        self.stage, self.recipe, self.watch, self.callbacks = stage, recipe, watch, callbacks
        self.folder = folder
        self.path = folder / METRICS_FILE
        self.bytes_per_token = corpus.card["bytes"] / corpus.card["train_tokens"]
        self.loss: float | None = None
        """Of the newest step alone, nats per token."""
        self.last_age = -1
        """Step of the newest age of this stage."""
        self._flops_per_s = self._flops_per_token = 1.0
        self._stepped_at = self._logged_at = time.monotonic()
        self._logged_tokens = 0

    def begin(self, progress: Progress, peak_flops: float, *, resumed: bool) -> None:
        """Start the clock; what was logged after a resumed state is dropped: it is made again."""
        self._flops_per_s = peak_flops
        self._stepped_at = self._logged_at = time.monotonic()
        self._logged_tokens = progress.tokens
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        last = progress.step if resumed else -1
        kept = []
        for line in lines:
            try:
                logged = json.loads(line)
            except json.JSONDecodeError:  # cut off in the middle by a kill
                continue
            if logged["stage"] != self.stage.key or logged["step"] <= last:
                kept.append(line)
        if kept != lines:
            write_file(self.path, "".join(f"{line}\n" for line in kept))

    def stepped(self, loss: float, shape: Shape, window: int) -> None:
        """Take note of a step that is done, in rows of `window` tokens."""
        self.loss = loss
        self._stepped_at = time.monotonic()
        self._flops_per_token = float(flops_per_token(shape, window))

    def log(self, progress: Progress, measured: float | None = None) -> None:
        """Write a line of metrics and show it; `measured` is bits per byte at an age. Raises DiskError."""
        loss = progress.loss
        if loss is None:  # at birth nothing has been trained on yet
            loss = (measured or math.nan) * math.log(2) * self.bytes_per_token
        rate = self._tokens_per_s(progress)
        mfu = self._mfu(rate)
        line = {
            "stage": self.stage.key,
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": round(loss, 5),
            "bits_per_byte": None if measured is None else round(measured, 5),
            "tokens_per_s": round(rate, 1),
            "mfu": round(mfu, 4),
            "elapsed_s": round(progress.elapsed_s, 3),
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(error, self.path) from error
        later = [step for step in self.stage.age_steps if step > progress.step]
        bits = loss / math.log(2) / self.bytes_per_token  # by the mean length of a token of the text
        self.watch.step(progress.step, loss, bits, rate, mfu, later[0] if later else None)
        self.tell("log", progress, measured=measured)
        self._logged_at, self._logged_tokens = time.monotonic(), progress.tokens

    def tell(
        self,
        kind: Kind,
        progress: Progress,
        *,
        card: AgeCard | None = None,
        writings: tuple[Writing, ...] = (),
        measured: float | None = None,
    ) -> bool:
        """Tell the callbacks of a moment; return whether one wants this step's age."""
        if not self.callbacks:
            return False
        rate = self._tokens_per_s(progress)
        moment = Moment(
            kind=kind,
            lineage=self.recipe.lineage,
            stage=self.stage.key,
            step=progress.step,
            steps=self.stage.steps,
            tokens=progress.tokens,
            elapsed_s=progress.elapsed_s,
            loss=self.loss,
            smooth_loss=progress.loss,
            tokens_per_s=rate,
            mfu=self._mfu(rate) if kind != "step" else None,
            folder=self.folder,
            last_age_step=self.last_age,
            bits_per_byte=measured,
            card=card,
            writings=writings,
            recipe=progress.recipe,
        )
        return events.tell(self.callbacks, moment)

    def _tokens_per_s(self, progress: Progress) -> float:
        return (progress.tokens - self._logged_tokens) / max(self._stepped_at - self._logged_at, 1e-9)

    def _mfu(self, tokens_per_s: float) -> float:
        """Share of the measured peak of all processes together."""
        return self._flops_per_token * tokens_per_s / self._flops_per_s
