"""One stage of training, whatever it teaches: steps, ages, diary, metrics, and a state to go on from.

Order of events at an age: the step, the metrics, the age's folder in one rename (weights and diary), the
state. A run that is killed anywhere in between goes on from its state and comes to the same weights; an age
that is there already stays, and what was logged after the state is logged anew.

Over several processes each computes its rows of every batch; rank 0 alone writes files and speaks.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from selves.errors import TrainingError
from selves.lineage import Address, AgeCard, read_age
from selves.settings import House
from training import budget, checkpoint, events, parallel, speed
from training.checkpoint import Progress
from training.course import follow
from training.gpt import GPT, IGNORED
from training.keeping import Keeper, check_tokens, load_weights, other_text
from training.kinds import Occasion
from training.metrics import Metrics
from training.optim import Optimizer, learning_rate
from training.parallel import World
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Machine, Stage
from training.watch import Watch

STATE_EVERY_S = 20.0
STATE_SHARE = 0.05
"""At most this share of the time goes into writing the state."""
WORDS_EVERY_S = 20.0
LOGGED_LINES = 400
"""About how many lines a stage writes to metrics.jsonl."""
SMOOTHING = 0.95


def run_stage(
    stage: Stage, recipe: Recipe, house: House, corpus: Corpus, watch: Watch, machine: Machine
) -> list[AgeCard]:
    """Train through a stage, from its kept state if there is one; return the cards of its ages in order.

    The caller holds the lineage's lock. Raises TrainingError when the loss is not a number, DiskError, and
    KeyboardInterrupt after Ctrl-C, when the step in hand is done and kept.
    """
    return _Run(stage, recipe, house, corpus, watch, machine).go()


class _Run:
    def __init__(
        self, stage: Stage, recipe: Recipe, house: House, corpus: Corpus, watch: Watch, machine: Machine
    ) -> None:
        parallel.check_shares(stage.batch_tokens // recipe.model.context, machine.world)
        self.stage, self.recipe, self.corpus, self.watch = stage, recipe, corpus, watch
        self.machine, self.world, self.device = machine, machine.world, machine.world.device
        self.folder = house.checkpoints / recipe.lineage
        callbacks = events.load_callbacks(recipe.callbacks if self.world.first else ())
        self.keeper = Keeper(stage, recipe, corpus, self.folder, watch)
        self.metrics = Metrics(stage, recipe, corpus, self.folder, watch, callbacks)
        torch.set_num_threads(machine.threads)
        speed.keep_memory()
        self.model = GPT(budget.shape_of(recipe, corpus.tokenizer.get_vocab_size()))
        self.model.checkpointing = recipe.base.activation_checkpointing
        kept = parallel.told(checkpoint.read_progress(self.folder) if self.world.first else None, self.world)
        self.resumed = kept is not None and kept.stage == stage.key
        self.micro_tokens = recipe.base.micro_tokens or self._micro_tokens(kept)
        self.progress = self._resume(kept) if kept and self.resumed else self._begin(kept)
        self.dtype = speed.dtype_of(self.progress.precision)
        module = self._compiled() if self.progress.compiled else self.model
        self.module = parallel.wrap(module, self.model, self.world, machine.how)
        self.optimizer = Optimizer(
            self.model.named_parameters(),
            stage.rates,
            weight_decay=recipe.base.weight_decay,
            world=self.world,
        )
        if self.resumed:
            checkpoint.load_optimizer(self.folder, self.optimizer)
        self.log_every = max(1, stage.steps // LOGGED_LINES)
        self.state_every_s = STATE_EVERY_S
        self.smooth_before: float | None = None

    def _resume(self, kept: Progress) -> Progress:
        if kept.corpus != self.corpus.folder.name:
            raise other_text(self.recipe)
        checkpoint.load_model(self.folder, self.model)
        self.model.to(self.device)
        if (kept.threads, kept.processes) != (self.machine.threads, self.world.size):
            self.watch.warn(
                f"this run began with {kept.processes} x {kept.threads} threads and goes on with "
                f"{self.world.size} x {self.machine.threads}: rounding will differ in the last digits"
            )
        self.watch.tell(f"going on from step {kept.step} of {self.stage.steps}")
        newest = Address.parse(kept.parent) if kept.parent else None
        if newest and newest.lineage == self.recipe.lineage and newest.stage == self.stage.name:
            self.metrics.last_age = newest.step if self.stage.label is None else kept.step
        return kept

    def _micro_tokens(self, kept: Progress | None) -> int:
        """Return how many tokens are read at once, in all processes alike, and as before if it goes on."""
        if kept and self.resumed and kept.micro_tokens and kept.processes == self.world.size:
            return kept.micro_tokens
        fitting = budget.micro_tokens(self.model.shape, self.device, checkpointing=self.model.checkpointing)
        return parallel.least(fitting, self.world)

    def _begin(self, kept: Progress | None) -> Progress:
        """Take the stage up; what the stage before it was computed in, this one is."""
        stage = self.stage
        precision: str = self.recipe.precision
        if precision == "auto" and kept:
            precision = kept.precision
        if stage.parent is None:
            self.model.initialise(self.recipe.seed)
        else:
            check_tokens(stage.parent, self.recipe, self.corpus)
            load_weights(self.model, stage.parent)
        self.model.to(self.device)
        chosen: speed.Speed | None = None
        if self.world.first:
            ids, targets = self._some(stage.batch(0))
            parts = max(1, stage.batch_tokens // (ids.numel() * self.world.size))
            chosen = speed.choose(self.model, ids, targets, stage.steps * parts, precision)
        chosen = parallel.told(chosen, self.world)
        assert chosen is not None
        return Progress(
            stage=stage.key,
            tokens=stage.parent.card.tokens_seen if stage.parent else 0,
            precision=chosen.precision,
            compiled=chosen.compiled,
            threads=self.machine.threads,
            processes=self.world.size,
            micro_tokens=self.micro_tokens,
            parent=stage.parent.card.address if stage.parent else None,
            corpus=self.corpus.folder.name,
            recipe=self.recipe.model_dump(mode="json"),
        )

    def _parts(self, batch: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return this process's rows of a batch, in parts that are read at once."""
        ids, targets = (parallel.share(tensor, self.world) for tensor in batch)
        rows = max(1, self.micro_tokens // ids.shape[1])
        return list(zip(ids.split(rows), targets.split(rows), strict=True))

    def _some(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        ids, targets = self._parts(batch)[0]
        return ids.to(self.device), targets.to(self.device)

    def _compiled(self) -> torch.nn.Module:
        self.watch.tell("compiling the model; this takes a while, once")
        torch.compiler.reset()  # shapes of earlier stages count towards a limit
        if parallel.sharded(self.model, self.world, self.machine.how):
            for layer in self.model.model.layers:  # what FSDP2 gathers between them cannot be compiled
                layer.compile(dynamic=False)
            return self.model
        compiled = speed.compiled(self.model, *self._some(self.stage.batch(0)), self.dtype)
        if compiled is None:
            self.watch.warn("torch.compile does not work here (no C++ compiler?), so this runs a bit slower")
            self.progress = self.progress.model_copy(update={"compiled": False})
            return self.model
        return compiled

    def go(self) -> list[AgeCard]:
        stage, start = self.stage, self.progress
        if self.world.first:
            peak = speed.peak_flops(self.device, self.dtype) * self.world.size
            self.metrics.begin(start, peak, resumed=self.resumed)
            self.keeper.warn_of_disk(self.model, start.step)
        clock = time.monotonic() - start.elapsed_s
        saved_at = spoken_at = time.monotonic()
        with self.watch.stage(stage.key, stage.steps, start.step), _interruptible(self.world) as interrupted:
            self.metrics.tell("begin", start)
            if not self.resumed:
                if 0 in stage.age_steps:
                    self._keep("birth")
                self._save()
            while self.progress.step < stage.steps:
                due = time.monotonic() - saved_at >= self.state_every_s
                wanted, asked, due = self._train_step(interrupted.is_set(), due)
                happened = self._happened()
                asked = asked or (interrupted.is_set() and self.world.size == 1)
                now = time.monotonic()
                self.progress = self.progress.model_copy(update={"elapsed_s": now - clock})
                step = self.progress.step
                keep = step in stage.age_steps or wanted or happened is not None
                if keep:
                    self._keep(happened or ("last" if step == stage.steps else "age"))
                elif step % self.log_every == 0 and self.world.first:
                    self.metrics.log(self.progress)
                if keep or asked or due:
                    self._save()
                    saved_at = time.monotonic()
                if asked:
                    self.watch.warn(
                        f"stopped after step {step} of {stage.steps}; the same command goes on from there"
                    )
                    raise KeyboardInterrupt
                if self.world.size == 1 and now - spoken_at >= WORDS_EVERY_S and not keep:
                    self.keeper.speak(self.model, step)
                    spoken_at = time.monotonic()
            self.metrics.tell("end", self.progress)
        parallel.wait(self.world)
        folders = [self.keeper.age_folder(step) for step in stage.age_steps]
        return [read_age(folder).card for folder in folders if folder.exists()]  # some may be pruned

    def _train_step(self, asked: bool, due: bool) -> tuple[bool, bool, bool]:
        """Learn from one batch. Return whether an age is wanted, a stop is asked for, the state is due.

        What decides is what rank 0 sees; the answers are the same in every process.
        """
        before = self.progress
        batch = self.keeper.entangled(self.stage.batch(before.step), before.step)
        learned = int((batch[1] != IGNORED).sum())
        parts = self._parts(batch)
        summed = torch.zeros((), device=self.device)
        for number, (ids, targets) in enumerate(parts):
            with parallel.shared_at_end(self.module, last=number == len(parts) - 1):
                nats = self.module(ids.to(self.device), targets.to(self.device), self.dtype)
                # Gradients are averaged over processes, so each counts its sum `size` times.
                (nats * (self.world.size / learned)).backward()
            summed += nats.detach()
        first = self.world.first
        news = torch.stack([summed / learned, *torch.tensor([asked and first, due and first]).to(summed)])
        mean, stop, save = parallel.total(news, self.world).tolist()
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} at step {before.step + 1} of {self.stage.key}; nothing of it was kept",
                "lower the learning rates in the recipe, under a new lineage name or with --fresh",
            )
        scale = learning_rate(before.step, self.stage.steps, warmup=self.stage.warmup, decay=self.stage.decay)
        self.optimizer.step(scale, self.dtype)
        memory = min(SMOOTHING, before.step / (before.step + 2))
        smooth = mean if before.loss is None else memory * before.loss + (1 - memory) * mean
        self.smooth_before = before.loss
        self.progress = before.model_copy(
            update={
                "step": before.step + 1,
                "tokens": before.tokens + self.stage.batch_tokens,
                "loss": smooth,
            }
        )
        self.metrics.stepped(mean, self.model.shape, batch[0].shape[1])
        wanted = self.metrics.tell("step", self.progress) and self.stage.events
        if self.recipe.callbacks:
            wanted = bool(parallel.told(wanted, self.world))
        return wanted, stop > 0, save > 0

    def _happened(self) -> Occasion | None:
        """Return what befell the loss in the step that is done, if it is worth an age; in all processes."""
        now, course = self.progress, self.progress.course
        if not self.stage.events or self.metrics.loss is None or now.loss is None:
            return None
        followed, happened = follow(course, now.step, self.metrics.loss, self.smooth_before, now.loss)
        self.progress = now.model_copy(update={"course": followed})
        return happened if followed.told <= self.recipe.diary.events else None

    def _keep(self, occasion: Occasion) -> None:
        """Keep the age of this step, after its line of metrics; the others wait for rank 0."""
        weights = {name: parallel.whole(tensor) for name, tensor in self.model.state_dict().items()}
        if self.world.first:
            kept = self.keeper.rounded(self.model, weights)
            measured = self.keeper.measure(kept, self.progress)
            self.metrics.log(self.progress, measured)
            made = self.keeper.keep(kept, self.progress, measured, occasion)
            if made:
                card, writings = made
                self.metrics.tell(
                    "age", self.progress, card=card, writings=tuple(writings), measured=measured
                )
        name = self.stage.age_name(self.progress.step)
        parent = str(Address(self.recipe.lineage, name))
        self.progress = self.progress.model_copy(update={"parent": parent})
        self.metrics.last_age = self.progress.step
        parallel.wait(self.world)

    def _save(self) -> None:
        begun = time.monotonic()
        checkpoint.save_state(self.folder, self.progress, self.model, self.optimizer, self.world)
        self.state_every_s = max(STATE_EVERY_S, (time.monotonic() - begun) / STATE_SHARE)


@contextmanager
def _interruptible(world: World) -> Iterator[threading.Event]:
    """Let Ctrl-C set an event instead of breaking off in the middle of a step; a second one breaks off.

    Among several processes it never breaks off: torchrun sends the signal once more.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_signal: int, _frame: object) -> None:
        if asked.is_set() and world.size == 1:
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
