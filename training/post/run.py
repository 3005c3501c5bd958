"""One post-training run: from the base to the last age on the ladder, or on from where it stopped.

Order of events at an age: the step, its line of metrics, transformers' checkpoint, the age's folder in one
rename, and last the seal that says the checkpoint is whole. A run that is killed in between goes on from the
newest sealed checkpoint and comes to the same weights; an age that is there already stays.

Several processes may share the work (training/parallel.py): each reads its part of every batch; the first
alone measures, writes files and speaks.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selves.errors import TrainingError
from selves.files import PARTIAL_PREFIX, write_file
from selves.lineage import Address, AgeCard, age_name, read_age
from selves.settings import House
from training.checkpoint import STATE_FOLDER, only_trainer
from training.figure import Figure
from training.kinds import kinds_of
from training.post import (
    ageing,
    asking,
    data,
    figures,
    judging,
    keeping,
    lines,
    models,
    probing,
    resume,
    rewards,
    speaking,
    teaching,
    trainers,
)
from training.post.lengths import fitting, limit_of
from training.post.recipe import BY_REWARD, IN_WEIGHTS, ON_POLICY, PostRecipe
from training.post.rows import fingerprint
from training.watch import Watch

if TYPE_CHECKING:
    from training.stage import Machine

STATE_EVERY_S = 120.0
TOLD_FILE = "told.json"
"""In a checkpoint: what the run had counted by then."""


def train(
    recipe: PostRecipe,
    house: House,
    watch: Watch | None = None,
    *,
    threads: int | None = None,
    state_every_s: float = STATE_EVERY_S,
    machine: Machine | None = None,
    ages: int | None = None,
) -> list[AgeCard]:
    """Make the ages of a recipe, or the first `ages` of them, or go on where that stopped.

    Returns the cards of those that are there, in order.
    Raises ConfigError, AgeError, CorpusError, TrainingError, DiskError; KeyboardInterrupt after Ctrl-C, when
    the step in hand is kept.
    """
    from training import parallel
    from training.base import this_machine

    watch, machine = watch or Watch(None), machine or this_machine(threads)
    world = machine.world
    if recipe.micro % world.size and recipe.method not in IN_WEIGHTS:
        raise TrainingError(
            f"{recipe.micro} rows cannot be shared evenly by {world.size} processes",
            "choose `micro_batch`, or `batch` where there is none, as a multiple of the processes",
        )
    folder = house.checkpoints / recipe.lineage
    ladder = [folder / age_name(recipe.stage_name, step) for step in recipe.age_steps]
    wanted = ladder[:ages]
    state = folder / STATE_FOLDER / recipe.stage_name
    if world.first and all(map(resume.is_made, ladder)):
        shutil.rmtree(state, ignore_errors=True)  # what a kill at the very end left
    for path in ladder:
        if path.exists():
            resume.check_kept(read_age(path).card, recipe)
    if not parallel.told(all(map(resume.is_made, wanted)), world):
        import torch

        kinds_of(recipe.diary)  # a mistake in it is told before anything is learned
        torch.set_num_threads(machine.threads)
        with only_trainer(folder) if world.first else nullcontext(), models.quietly():
            with parallel.in_turn(world):
                age = models.find_base(recipe, house, watch.tell)
                base = models.open_base(recipe, age, state)
            if recipe.method not in IN_WEIGHTS:
                run = Run(recipe, base, house, folder, state, watch, state_every_s, machine)
                run.go(recipe.age_steps[len(wanted) - 1])
            elif world.first:
                ageing.make(recipe, base, house, watch, len(wanted))
            parallel.wait(world)  # another may still read there
            if world.first and all(map(resume.is_made, ladder)):
                shutil.rmtree(state, ignore_errors=True)
    return [read_age(path).card for path in wanted if path.exists()]


def fresh_start(recipe: PostRecipe, house: House) -> list[str]:
    """Delete what a recipe has made so far; return the addresses of the ages that were deleted."""
    folder = house.checkpoints / recipe.lineage
    if not folder.exists():
        return []
    gone = []
    with only_trainer(folder):
        for step in recipe.age_steps:
            path = folder / age_name(recipe.stage_name, step)
            if path.exists():
                # under another name first: killed midway, it is still whole or off the list
                shutil.rmtree(path.rename(folder / f"{PARTIAL_PREFIX}gone-{path.name}"))
                gone.append(f"{recipe.lineage}@{path.name}")
        shutil.rmtree(folder / STATE_FOLDER / recipe.stage_name, ignore_errors=True)
    return gone


class Run:
    """What is known while a trainer trains."""

    def __init__(
        self,
        recipe: PostRecipe,
        base: models.Base,
        house: House,
        folder: Path,
        state: Path,
        watch: Watch,
        state_every_s: float,
        machine: Machine,
    ) -> None:
        from training import parallel

        world = machine.world
        self.recipe, self.base, self.folder, self.state, self.watch = recipe, base, folder, state, watch
        self.state_every_s = state_every_s
        learned = recipe.reward.functions if recipe.method in BY_REWARD else ()
        self.rewards = [rewards.load(name, recipe.reward.options, house) for name in learned]
        self.probed = [rewards.load(name, recipe.reward.options, house) for name in recipe.probes.rewards]
        self.house = house
        self.teacher = teaching.load_teacher(recipe, base, house)
        self.world = world
        self.sharded = world.size > 1 and (
            machine.how == "fsdp"
            or (machine.how == "auto" and base.age.card.parameters > parallel.WHOLE_UP_TO)
        )
        say = asking.Asking(base, recipe.seed, state / asking.said_file(base, recipe.seed))
        read = data.prepare(recipe, probing.questions(recipe, base.form), say) if world.first else None
        self.prepared: data.Prepared = parallel.told(read, world)
        limit = limit_of(recipe, base.age.card.context_tokens)
        self.rows, self.lengths = fitting(recipe, self.prepared.train, base.tokenizer, limit)
        if recipe.method == "kto":  # TRL reads them in order, and compares each with its neighbour
            random.Random(recipe.seed).shuffle(self.rows)
        known = (
            resume.begin(state, recipe, self.prepared.sha256, base.age.card.weights_sha256, self.sharded)
            if world.first
            else None
        )
        self.known: dict[str, Any] = parallel.told(known, world)
        self.trainer: Any = None
        self.loss: float | None = None
        self.tokens = self.tokens_before = 0
        self.begun = time.monotonic()

    def go(self, until: int) -> None:
        """Train until the age of a step is kept. Raises as `train`."""
        from training import parallel
        from training.post.following import Follower

        for count, why in (
            (self.prepared.doubles, "stand there twice"),
            (self.prepared.contaminated, "hold a question of a probe"),
            (self.lengths.dropped, "have a prompt that leaves no room for an answer"),
        ):
            if count:
                self.watch.warn(f"{count} rows are left out: they {why}")
        if not self.prepared.test and self.recipe.held_out:
            self.watch.warn("no row is held out, so nothing is measured by rows: few prompts differ")
        follower = Follower(self, until)
        with resume.writable(self.state):
            self.trainer = trainer = trainers.build(
                self.recipe,
                self.base,
                self.rows,
                self.rewards,
                # sharding takes a teacher apart, and this one is measured by
                teaching.load_teacher(self.recipe, self.base, self.house) if self.sharded else self.teacher,
                self.state,
                follower,
                self.world.size,
                sharded=self.sharded,
            )
            if self.world.first:
                self._measure_before(trainer.model)
                speaking.write_before(self.recipe, self._voice(trainer.model), self.base)
            kept = parallel.told(resume.newest(self.state) if self.world.first else None, self.world)
            if kept is not None:
                self.watch.tell(f"going on from {kept.name.replace('-', ' ')} of {self.recipe.steps}")
            done = self._take_up(kept)
            with self.watch.stage(self.recipe.stage_name, self.recipe.steps, done), follower.interruptible():
                trainer.train(resume_from_checkpoint=str(kept) if kept else None)
        if follower.asked.is_set() and not resume.is_made(
            self.folder / age_name(self.recipe.stage_name, until)
        ):
            raise KeyboardInterrupt

    def _take_up(self, kept: Path | None) -> int:
        """Set the counts to those of a checkpoint; drop what was logged after it. Return its step."""
        step = 0
        if kept is not None:
            told = json.loads((kept / TOLD_FILE).read_text("utf-8"))
            self.tokens = told["tokens"]
            if self.recipe.method not in ON_POLICY:  # those go on counting by themselves
                self.tokens_before = self.tokens
            self.begun = time.monotonic() - told["elapsed_s"]
            step = int(kept.name.rpartition("-")[2])
            if (processes := told.get("processes", 1)) != self.world.size:
                self.watch.warn(
                    f"this run began with {processes} processes and goes on with {self.world.size}: what is "
                    "drawn by chance is drawn otherwise, and rounding differs in the last digits"
                )
        if self.world.first:
            lines.drop_after(self.folder, self.recipe.stage_name, step)
        return step

    @property
    def elapsed_s(self) -> float:
        """Spent training, over all sittings."""
        return time.monotonic() - self.begun

    def _measure_before(self, model: Any) -> None:
        asked = fingerprint([self.recipe.probes.model_dump(mode="json"), *self.prepared.test])
        if "before" not in self.known or self.known.get("asked") != asked:
            found = [figure.model_dump() for figure in self.measure(model)]
            resume.note(self.state, before=found, asked=asked)
            self.known["before"] = found

    @property
    def before(self) -> list[Figure]:
        return [Figure.model_validate(found) for found in self.known["before"]]

    def measure(self, model: Any) -> list[Figure]:
        """Return all figures of the model as it is now."""
        base = self.base
        found = figures.measure(
            self.recipe,
            self._voice(model),
            base.tokenizer,
            base.ends,
            base.form,
            self.prepared.test,
            [*self.rewards, *self.probed],
        )
        found += probing.measure(self.recipe, self._voice(model), base.tokenizer, base.ends)
        if self.recipe.method in ("distill", "sdft") and self.prepared.test:
            asked = self.prepared.test[: self.recipe.probes.items]
            found.insert(0, teaching.distance(self.recipe, model, self.teacher, base, asked))
        if self.recipe.method == "reward":
            found = judging.measure(self.recipe, model, base, self.prepared.test) + found
        return found

    def _voice(self, model: Any) -> Any:
        """Return the model that speaks: of a judge another one with the same weights."""
        return (
            judging.voice_of(model, self.base, self.recipe.seed) if self.recipe.method == "reward" else model
        )

    def saved(self, step: int) -> None:
        """Finish the checkpoint of a step, after its age if there is one; every process calls this."""
        from training import parallel

        if step in self.recipe.age_steps:
            self.keep(step)
        else:
            models.check_finite(self.trainer.model, f"step {step}")
        folder = self.state / f"{resume.PREFIX}{step}"
        if self.world.first:
            counted = {
                "tokens": self.tokens,
                "elapsed_s": self.elapsed_s,
                "processes": self.world.size,
            }
            write_file(folder / TOLD_FILE, json.dumps(counted))
        parallel.wait(self.world)  # each writes the state of its own randomness there
        if self.world.first:
            resume.seal(folder)

    def keep(self, step: int) -> None:
        """Write the age of a step, if it is not there; every process calls this."""
        model = self.trainer.model
        models.check_finite(model, f"step {step}")
        if self.sharded:
            model = trainers.gathered(model, self.recipe, self.base, first=self.world.first)
        folder = self.folder / age_name(self.recipe.stage_name, step)
        if not self.world.first or resume.is_made(folder):
            return
        last = step == self.recipe.steps
        after: Sequence[Figure] = self.measure(model) if last or self.recipe.probes.at_ages else []
        earlier = [s for s in self.recipe.age_steps if s < step]
        parent = (
            str(Address(self.recipe.lineage, age_name(self.recipe.stage_name, earlier[-1])))
            if earlier
            else self.base.age.card.address
        )
        facts = keeping.Facts(
            address=str(Address(self.recipe.lineage, folder.name)),
            parent=parent,
            tokens_seen=self.tokens,
            train_loss=self.loss if self.recipe.method == "sft" else None,
            sources=self.prepared.sources,
            before=self.before if after else [],
            after=after,
        )
        self.watch.age(*keeping.keep(folder, self.recipe, self.base, model, facts))

    def logged(self, step: int, logs: dict[str, Any]) -> None:
        """Take note of what a trainer says of a step. Raises TrainingError where its loss is no number."""
        if not self.world.first:
            return
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        loss = numbers.pop("loss", None)
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step} of {self.recipe.stage_name}; nothing of it was kept",
                "lower `rate` in the recipe; the same command with --fresh begins again",
            )
        self.loss = loss
        self.tokens = self.tokens_before + int(numbers.pop("num_tokens", self.tokens - self.tokens_before))
        line = {
            "stage": self.recipe.stage_name,
            "step": step,
            "tokens": self.base.age.card.tokens_seen + self.tokens,
            # only this one is in nats per token
            "loss": round(loss, 5) if self.recipe.method == "sft" else None,
            "bits_per_byte": None,
            "elapsed_s": round(self.elapsed_s, 3),
            "figures": {"loss": round(loss, 6)} | {name: round(value, 6) for name, value in numbers.items()},
        }
        lines.write(self.folder, line)
        said = f"loss {loss:.3f}" + (f"  reward {numbers['reward']:.3f}" if "reward" in numbers else "")
        self.watch.progress(step, said)
