"""One stage of training, whatever it teaches: steps, ages, diary, metrics, and a state to go on from.

Order of events at an age: the step, the metrics, the age's folder in one rename (weights and diary), the
state. A run that is killed anywhere in between goes on from its state and comes to the same weights; an age
that is there already stays, and what was logged after the state is logged anew.

Over several processes each computes its rows of every batch; rank 0 alone writes files and speaks.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from selves.errors import TrainingError
from selves.files import disk_error, sha256_text, write_file
from selves.lineage import METRICS_FILE, Address, Age, AgeCard, age_name, read_age
from selves.settings import House
from selves.speech import ChatMessage, Form, Prompt, Sampling, Writing, seed_from
from training import budget, checkpoint, diary, events, export, parallel, speed
from training import tokenizer as alphabet
from training.checkpoint import Progress
from training.evals.run import evaluate_age
from training.evals.text import from_corpus
from training.evaluate import bits_per_byte
from training.events import Moment
from training.generate import Speaker, say
from training.gpt import GPT, IGNORED, flops_per_token
from training.optim import Optimizer, learning_rate
from training.parallel import How, World
from training.recipe import Recipe
from training.shards import Corpus
from training.watch import Watch

STATE_EVERY_S = 20.0
STATE_SHARE = 0.05
"""At most this share of the time goes into writing the state."""
WORDS_EVERY_S = 20.0
LOGGED_LINES = 400
"""About how many lines a stage writes to metrics.jsonl."""
SMOOTHING = 0.95
GREETING = "Hi! How are you today?"


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
        rows = stage.batch_tokens // recipe.model.context
        parallel.check_shares(rows, machine.world)
        self.stage, self.recipe, self.corpus, self.watch = stage, recipe, corpus, watch
        self.machine, self.world, self.device = machine, machine.world, machine.world.device
        self.folder = house.checkpoints / recipe.lineage
        self.kept_dtype: torch.dtype = getattr(torch, recipe.kept_dtype)
        self.bytes_per_token = corpus.card["bytes"] / corpus.card["train_tokens"]
        self.callbacks = events.load_callbacks(recipe.callbacks if self.world.first else ())
        torch.set_num_threads(machine.threads)
        speed.keep_memory()
        self.model = GPT(budget.shape_of(recipe, corpus.tokenizer.get_vocab_size()))
        self.model.checkpointing = recipe.base.activation_checkpointing
        kept = parallel.told(checkpoint.read_progress(self.folder) if self.world.first else None, self.world)
        self.resumed = kept is not None and kept.stage == stage.key
        self.progress = self._resume(kept) if kept and self.resumed else self._begin()
        self.dtype = speed.dtype_of(self.progress.precision)
        self.micro_tokens = self._micro_tokens()
        self.peak = speed.peak_flops(self.device, self.dtype) if self.world.first else 1.0
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
        self.loss_now: float | None = None
        self.window = recipe.model.context
        self.last_age = max((s for s in stage.age_steps if s <= self.progress.step), default=-1)
        self._stepped_at = self._logged_at = time.monotonic()
        self._logged_tokens = self.progress.tokens

    def _resume(self, kept: Progress) -> Progress:
        if kept.corpus != self.corpus.folder.name:
            raise self._other_text()
        checkpoint.load_model(self.folder, self.model)
        self.model.to(self.device)
        if (kept.threads, kept.processes) != (self.machine.threads, self.world.size):
            self.watch.warn(
                f"this run began with {kept.processes} x {kept.threads} threads and goes on with "
                f"{self.world.size} x {self.machine.threads}: rounding will differ in the last digits"
            )
        self.watch.tell(f"going on from step {kept.step} of {self.stage.steps}")
        return kept

    def _check_tokens(self, age: Age) -> None:
        """An age of this run has the tokens that its text has; another text would give others."""
        mine = sha256_text(alphabet.as_file(self.corpus.tokenizer))
        if age.card.files.get("tokenizer.json") != mine:
            raise self._other_text()

    def _other_text(self) -> TrainingError:
        return TrainingError(
            f"the text of {self.recipe.lineage} is not what it began with",
            "put the text back as it was, choose a new lineage name, or begin anew with --fresh",
        )

    def _begin(self) -> Progress:
        stage = self.stage
        if stage.parent is None:
            self.model.initialise(self.recipe.seed)
        else:
            self._check_tokens(stage.parent)
            load_weights(self.model, stage.parent)
        self.model.to(self.device)
        chosen: speed.Speed | None = None
        if self.world.first:
            ids, targets = self._some(stage.batch(0))
            parts = max(1, stage.batch_tokens // (ids.numel() * self.world.size))
            chosen = speed.choose(self.model, ids, targets, stage.steps * parts, self.recipe.precision)
        chosen = parallel.told(chosen, self.world)
        assert chosen is not None
        return Progress(
            stage=stage.key,
            tokens=stage.parent.card.tokens_seen if stage.parent else 0,
            precision=chosen.precision,
            compiled=chosen.compiled,
            threads=self.machine.threads,
            processes=self.world.size,
            parent=stage.parent.card.address if stage.parent else None,
            corpus=self.corpus.folder.name,
            recipe=self.recipe.model_dump(mode="json"),
        )

    def _micro_tokens(self) -> int:
        """Return how many tokens this process reads at once."""
        wanted = self.recipe.base.micro_tokens
        return wanted or budget.micro_tokens(
            self.model.shape, self.device, checkpointing=self.model.checkpointing
        )

    def _some(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return so much of a batch as is read at once."""
        ids, targets = (parallel.share(tensor, self.world) for tensor in batch)
        rows = max(1, self._micro_tokens() // ids.shape[1])
        return ids[:rows].to(self.device), targets[:rows].to(self.device)

    def _compiled(self) -> torch.nn.Module:
        self.watch.tell("compiling the model; this takes a while, once")
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
            self._trim_metrics()
            self._warn_of_disk()
        clock = time.monotonic() - start.elapsed_s
        saved_at = spoken_at = self._logged_at = time.monotonic()
        with self.watch.stage(stage.key, stage.steps, start.step), _interruptible(self.world) as interrupted:
            self._tell("begin")
            if not self.resumed:
                if 0 in stage.age_steps:
                    self._keep()
                self._save()
            while self.progress.step < stage.steps:
                now = time.monotonic()
                asked = interrupted.is_set()
                due = now - saved_at >= self.state_every_s
                wanted, asked, due = self._train_step(asked, due)
                asked = asked or (interrupted.is_set() and self.world.size == 1)
                now = self._stepped_at = time.monotonic()
                self.progress = self.progress.model_copy(update={"elapsed_s": now - clock})
                step = self.progress.step
                keep = step in stage.age_steps or wanted
                if keep:
                    self._keep()
                elif step % self.log_every == 0:
                    self._log()
                if keep or asked or due:
                    self._save()
                    saved_at = time.monotonic()
                if asked:
                    self.watch.warn(
                        f"stopped after step {step} of {stage.steps}; the same command goes on from there"
                    )
                    raise KeyboardInterrupt
                if self.world.size == 1 and now - spoken_at >= WORDS_EVERY_S and not keep:
                    self._speak()
                    spoken_at = time.monotonic()
            self._tell("end")
        parallel.wait(self.world)
        return [read_age(self._age_folder(step)).card for step in stage.age_steps]

    def _train_step(self, asked: bool, due: bool) -> tuple[bool, bool, bool]:
        """Learn from one batch. Return whether an age is wanted, a stop is asked for, the state is due.

        What decides is what rank 0 sees; the answers are the same in every process.
        """
        before = self.progress
        ids, targets = self.stage.batch(before.step)
        self.window = ids.shape[1]
        learned = int((targets != IGNORED).sum())
        ids, targets = parallel.share(ids, self.world), parallel.share(targets, self.world)
        rows = max(1, self.micro_tokens // ids.shape[1])
        parts = list(zip(ids.split(rows), targets.split(rows), strict=True))
        summed = torch.zeros((), device=self.device)
        for number, (some_ids, some_targets) in enumerate(parts):
            with parallel.shared_at_end(self.module, last=number == len(parts) - 1):
                nats = self.module(some_ids.to(self.device), some_targets.to(self.device), self.dtype)
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
        self.loss_now = mean
        self.progress = before.model_copy(
            update={
                "step": before.step + 1,
                "tokens": before.tokens + self.stage.batch_tokens,
                "loss": smooth,
            }
        )
        wanted = self._tell("step") and self.stage.events
        if self.recipe.callbacks:
            wanted = bool(parallel.told(wanted, self.world))
        return wanted, stop > 0, save > 0

    def _keep(self) -> None:
        """Measure, log and write the age of this step, unless it is there; tell of it when it is on disk."""
        weights = {name: parallel.whole(tensor) for name, tensor in self.model.state_dict().items()}
        if self.world.first:
            self._keep_age(weights)
        self.progress = self.progress.model_copy(
            update={"parent": str(Address(self.recipe.lineage, self.stage.age_name(self.progress.step)))}
        )
        self.last_age = self.progress.step
        parallel.wait(self.world)

    def _keep_age(self, weights: dict[str, Tensor]) -> None:
        progress, recipe = self.progress, self.recipe
        kept = GPT(self.model.shape).to(self.device)
        kept.load_state_dict({n: t.to(self.kept_dtype).float() for n, t in weights.items()})
        folder = self._age_folder(progress.step)
        if folder.exists():
            age = read_age(folder)
            card = age.card
            self._check_tokens(age)
            if card.weights_sha256 != export.weights_sha256(kept, self.kept_dtype):
                self.watch.warn(
                    f"{card.address} was kept by an earlier run that computed a little differently; it stays"
                )
            self._log(card.bits_per_byte)
            self._evaluate(folder)
            return
        address = Address(recipe.lineage, folder.name)
        measured = bits_per_byte(kept, self.corpus, recipe.base.heldout_tokens)
        if not math.isfinite(measured):
            raise TrainingError(
                f"{address} cannot be kept: its weights are not numbers",
                "lower the learning rates in the recipe, under a new lineage name or with --fresh",
            )
        self._log(measured)
        writings: list[Writing] = []

        def write(weights_sha256: str) -> list[Writing]:
            speaker = Speaker(kept, self.corpus.tokenizer, str(address), weights_sha256)
            writings.extend(diary.write(recipe, speaker, self.stage.form))
            return writings

        facts = export.Facts(
            address=address,
            parent=progress.parent,
            form=self.stage.form,
            tokens_seen=progress.tokens,
            train_loss=progress.loss,
            bits_per_byte=measured,
            sources=tuple(self.corpus.card["sources"]),
            license=", ".join(dict.fromkeys(filter(None, self.corpus.card["licenses"]))),
            recipe=recipe.model_dump(mode="json"),
        )
        card = export.keep_age(folder, kept, self.kept_dtype, self.corpus.tokenizer, facts, write)
        self.watch.age(card, writings)
        self._evaluate(folder)
        self._tell("age", card=card, writings=tuple(writings), measured=measured)

    def _evaluate(self, folder: Path) -> None:
        """Measure an age by the recipe's suites, if it wants that; what was measured before is left."""
        evals = self.recipe.evals
        if evals.at_ages:
            text = from_corpus(self.corpus)
            evaluate_age(folder, evals.suites, evals.items, text=text, tell=self.watch.tell)

    def _warn_of_disk(self) -> None:
        """Say before it happens that the ages which are still to come will not fit."""
        step = self.progress.step
        missing = [s for s in self.stage.age_steps if s >= step and not self._age_folder(s).exists()]
        each = budget.age_bytes(self.model.shape, self.recipe.kept_dtype)
        needed = len(missing) * each + budget.state_bytes(self.model.shape)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            fit = max(0, int((free - budget.state_bytes(self.model.shape)) // each))
            self.watch.warn(
                f"{len(missing)} ages of {each / 1e6:.0f} MB are to come, but {free / 1e6:.0f} MB are free: "
                f"the disk will be full after {fit} of them. Make room (selves ages prune), or keep fewer"
            )

    def _age_folder(self, step: int) -> Path:
        return self.folder / self.stage.age_name(step)

    def _next_age(self, step: int) -> str | None:
        later = [s for s in self.stage.age_steps if s > step]
        return age_name(self.stage.name, later[0]) if later else None

    def _bits(self, nats: float) -> float:
        """Nats per token of what is being read -> bits per byte, by the text's mean token length."""
        return nats / math.log(2) / self.bytes_per_token

    def _save(self) -> None:
        begun = time.monotonic()
        checkpoint.save_state(self.folder, self.progress, self.model, self.optimizer, self.world)
        self.state_every_s = max(STATE_EVERY_S, (time.monotonic() - begun) / STATE_SHARE)

    def _speak(self) -> None:
        """Show what it answers to a greeting now."""
        tokenizer, name = self.corpus.tokenizer, alphabet.self_name(self.recipe.lineage)
        if self.stage.form == "chat":
            prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content=GREETING),))
        else:
            prompt = Prompt(form="transcript", text=f"<{alphabet.GUEST}> {GREETING}\n<{name}>")
        ids, ends = diary.prepare(tokenizer, prompt)
        seed = seed_from(self.recipe.lineage, "live", self.stage.key, self.progress.step)
        sampling = Sampling(max_tokens=32, temperature=0.7, stop=("\n",), seed=seed)
        answer = say(Speaker(self.model, tokenizer, "", ""), prompt, ids, sampling, ends)
        self.watch.words(answer.text)

    def _tokens_per_s(self) -> float:
        return (self.progress.tokens - self._logged_tokens) / max(self._stepped_at - self._logged_at, 1e-9)

    def _mfu(self, tokens_per_s: float) -> float:
        """Share of the measured peak of all processes together."""
        return flops_per_token(self.model.shape, self.window) * tokens_per_s / (self.peak * self.world.size)

    def _log(self, measured: float | None = None) -> None:
        """Write a line of metrics and show it; `measured` is bits per byte at an age."""
        if not self.world.first:
            return
        progress, loss = self.progress, self.progress.loss
        if loss is None:  # at birth nothing has been trained on yet
            loss = (measured or math.nan) * math.log(2) * self.bytes_per_token
        tokens_per_s = self._tokens_per_s()
        mfu = self._mfu(tokens_per_s)
        line = {
            "stage": self.stage.key,
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": round(loss, 5),
            "bits_per_byte": None if measured is None else round(measured, 5),
            "tokens_per_s": round(tokens_per_s, 1),
            "mfu": round(mfu, 4),
            "elapsed_s": round(progress.elapsed_s, 3),
        }
        path = self.folder / METRICS_FILE
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(error, path) from error
        next_age = self._next_age(progress.step)
        self.watch.step(progress.step, loss, self._bits(loss), tokens_per_s, mfu, next_age)
        self._tell("log", measured=measured)
        self._logged_at, self._logged_tokens = time.monotonic(), progress.tokens

    def _tell(
        self,
        kind: Literal["begin", "step", "log", "age", "end"],
        *,
        card: AgeCard | None = None,
        writings: tuple[Writing, ...] = (),
        measured: float | None = None,
    ) -> bool:
        """Tell the callbacks; return whether one wants an age."""
        if not self.callbacks:
            return False
        progress, rate = self.progress, self._tokens_per_s()
        moment = Moment(
            kind=kind,
            lineage=self.recipe.lineage,
            stage=self.stage.key,
            step=progress.step,
            steps=self.stage.steps,
            tokens=progress.tokens,
            elapsed_s=progress.elapsed_s,
            loss=self.loss_now,
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

    def _trim_metrics(self) -> None:
        """Drop what a killed run logged after its last state: those steps are made again."""
        path = self.folder / METRICS_FILE
        last = self.progress.step if self.resumed else -1
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        kept = []
        for line in lines:
            try:
                logged = json.loads(line)
            except json.JSONDecodeError:  # cut off in the middle by the kill
                continue
            if logged["stage"] != self.stage.key or logged["step"] <= last:
                kept.append(line)
        if kept != lines:
            write_file(path, "".join(f"{line}\n" for line in kept))


def load_weights(model: GPT, age: Age) -> None:
    """Put an age's weights into a model of its shape. Raises TrainingError if they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict({n: t.float() for n, t in load_file(age.folder / export.WEIGHTS_FILE).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{age.card.address} cannot be trained on: {error}") from error


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
