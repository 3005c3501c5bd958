"""One stage of training, whatever it teaches: steps, ages, diary, metrics, and a state to go on from.

Order of events at an age: the step, the metrics, the age's folder in one rename (weights and diary), the
state. A run that is killed anywhere in between goes on from its state and comes to the same weights; an age
that is there already stays, and what was logged after the state is logged anew.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from selves.errors import TrainingError
from selves.files import disk_error, sha256_text, write_file
from selves.lineage import METRICS_FILE, Address, Age, AgeCard, age_name, read_age
from selves.settings import House
from selves.speech import ChatMessage, Form, Prompt, Sampling, Writing, seed_from
from training import checkpoint, diary, export, speed
from training import tokenizer as alphabet
from training.checkpoint import Progress
from training.evaluate import bits_per_byte
from training.generate import Speaker, say
from training.gpt import GPT, Shape
from training.optim import Optimizer, learning_rate
from training.recipe import Recipe
from training.shards import Corpus
from training.watch import Watch

STATE_EVERY_S = 20.0
WORDS_EVERY_S = 20.0
LOGGED_LINES = 400
"""About how many lines a stage writes to metrics.jsonl."""
SMOOTHING = 0.95
GREETING = "Hi! How are you today?"


class Stage(NamedTuple):
    """What makes one stage different from another."""

    name: str
    steps: int
    batch_tokens: int
    age_steps: tuple[int, ...]
    """Steps after which an age is kept; the last is `steps`."""
    form: Form
    batch: Callable[[int], tuple[Tensor, Tensor]]
    """Inputs and targets (B, T) of a step; a pure function of the step."""
    rates: tuple[float, float, float]
    """Learning rates of matrices, embedding and the rest."""
    warmup: float
    decay: float
    parent: Age | None
    """The age it begins from; None begins from random weights."""


def run_stage(
    stage: Stage, recipe: Recipe, house: House, corpus: Corpus, watch: Watch, *, threads: int
) -> list[AgeCard]:
    """Train through a stage, from its kept state if there is one; return the cards of its ages in order.

    The caller holds the lineage's lock. Raises TrainingError when the loss is not a number, DiskError, and
    KeyboardInterrupt after Ctrl-C, when the step in hand is done and kept.
    """
    return _Run(stage, recipe, house, corpus, watch, threads).go()


class _Run:
    def __init__(
        self, stage: Stage, recipe: Recipe, house: House, corpus: Corpus, watch: Watch, threads: int
    ) -> None:
        self.stage, self.recipe, self.corpus, self.watch = stage, recipe, corpus, watch
        self.folder = house.checkpoints / recipe.lineage
        self.device = speed.device()
        self.kept_dtype: torch.dtype = getattr(torch, recipe.kept_dtype)
        self.bytes_per_token = corpus.card["bytes"] / corpus.card["train_tokens"]
        torch.set_num_threads(threads)
        self.model = GPT(model_shape(recipe, corpus)).to(self.device)
        self.optimizer = Optimizer(self.model.named_parameters(), stage.rates)
        kept = checkpoint.read_progress(self.folder)
        self.resumed = kept is not None and kept.stage == stage.name
        self.progress = self._resume(kept, threads) if kept and self.resumed else self._begin(threads)
        self.loss: speed.Loss = self._compile() if self.progress.compiled else self.model.loss
        self.log_every = max(1, stage.steps // LOGGED_LINES)
        self._stepped_at = self._logged_at = time.monotonic()
        self._logged_tokens = self.progress.tokens

    def _resume(self, kept: Progress, threads: int) -> Progress:
        if kept.corpus != self.corpus.folder.name:
            raise self._other_text()
        checkpoint.load_state(self.folder, self.model, self.optimizer)
        if kept.threads != threads:
            self.watch.warn(
                f"this run began with {kept.threads} threads and goes on with {threads}: "
                f"rounding will differ in the last digits"
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

    def _begin(self, threads: int) -> Progress:
        stage = self.stage
        if stage.parent is None:
            self.model.initialise(self.recipe.seed)
        else:
            self._check_tokens(stage.parent)
            load_weights(self.model, stage.parent)
        ids, targets = stage.batch(0)
        chosen = speed.choose(
            self.model,
            ids.to(self.device),
            targets.to(self.device),
            stage.steps,
            self.recipe.precision,
        )
        return Progress(
            stage=stage.name,
            tokens=stage.parent.card.tokens_seen if stage.parent else 0,
            precision=chosen.precision,
            compiled=chosen.compiled,
            threads=threads,
            corpus=self.corpus.folder.name,
            recipe=self.recipe.model_dump(mode="json"),
        )

    def _compile(self) -> speed.Loss:
        self.watch.tell("compiling the model; this takes a while, once")
        ids, targets = (tensor.to(self.device) for tensor in self.stage.batch(0))
        compiled = speed.compile_loss(self.model, ids, targets, self.progress.precision)
        if compiled is None:
            self.watch.warn("torch.compile does not work here (no C++ compiler?), so this runs a bit slower")
            self.progress = self.progress.model_copy(update={"compiled": False})
            return self.model.loss
        return compiled

    def go(self) -> list[AgeCard]:
        stage, start = self.stage, self.progress
        self._trim_metrics()
        clock = time.monotonic() - start.elapsed_s
        saved_at = spoken_at = self._logged_at = time.monotonic()
        with self.watch.stage(stage.name, stage.steps, start.step), _interruptible() as interrupted:
            if not self.resumed:
                if 0 in stage.age_steps:
                    self._keep()
                self._save()
            while self.progress.step < stage.steps:
                self._train_step()
                now = self._stepped_at = time.monotonic()
                self.progress = self.progress.model_copy(update={"elapsed_s": now - clock})
                step = self.progress.step
                if step in stage.age_steps:
                    self._keep()
                elif step % self.log_every == 0:
                    self._log()
                if step in stage.age_steps or interrupted.is_set() or now - saved_at >= STATE_EVERY_S:
                    self._save()
                    saved_at = time.monotonic()
                if interrupted.is_set():
                    self.watch.warn(
                        f"stopped after step {step} of {stage.steps}; the same command goes on from there"
                    )
                    raise KeyboardInterrupt
                if now - spoken_at >= WORDS_EVERY_S and step not in stage.age_steps:
                    self._speak()
                    spoken_at = time.monotonic()
        return [read_age(self._age_folder(step)).card for step in stage.age_steps]

    def _train_step(self) -> None:
        before = self.progress
        ids, targets = self.stage.batch(before.step)
        dtype = speed.dtype_of(before.precision)
        loss_now = self.loss(ids.to(self.device), targets.to(self.device), dtype)
        loss_now.backward()
        loss = loss_now.item()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {before.step + 1} of {self.stage.name}; nothing of it was kept",
                "lower the learning rates in the recipe, under a new lineage name or with --fresh",
            )
        scale = learning_rate(before.step, self.stage.steps, warmup=self.stage.warmup, decay=self.stage.decay)
        self.optimizer.step(scale, dtype)
        memory = min(SMOOTHING, before.step / (before.step + 2))
        smooth = loss if before.loss is None else memory * before.loss + (1 - memory) * loss
        self.progress = before.model_copy(
            update={
                "step": before.step + 1,
                "tokens": before.tokens + self.stage.batch_tokens,
                "loss": smooth,
            }
        )

    def _keep(self) -> None:
        """Measure, log and write the age of this step, unless it is there; tell of it when it is on disk."""
        progress, recipe = self.progress, self.recipe
        kept = GPT(self.model.shape).to(self.device)
        kept.load_state_dict({n: t.to(self.kept_dtype).float() for n, t in self.model.state_dict().items()})
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
            parent=self._parent(progress.step),
            form=self.stage.form,
            tokens_seen=progress.tokens,
            train_loss=progress.loss,
            bits_per_byte=measured,
            license=", ".join(dict.fromkeys(filter(None, self.corpus.card["licenses"]))),
            recipe=recipe.model_dump(mode="json"),
        )
        card = export.keep_age(folder, kept, self.kept_dtype, self.corpus.tokenizer, facts, write)
        self.watch.age(card, writings)

    def _parent(self, step: int) -> str | None:
        earlier = [s for s in self.stage.age_steps if s < step]
        if earlier:
            return str(Address(self.recipe.lineage, age_name(self.stage.name, earlier[-1])))
        return self.stage.parent.card.address if self.stage.parent else None

    def _age_folder(self, step: int) -> Path:
        return self.folder / age_name(self.stage.name, step)

    def _next_age(self, step: int) -> str | None:
        later = [s for s in self.stage.age_steps if s > step]
        return age_name(self.stage.name, later[0]) if later else None

    def _bits(self, nats: float) -> float:
        """Nats per token of what is being read -> bits per byte, by the text's mean token length."""
        return nats / math.log(2) / self.bytes_per_token

    def _save(self) -> None:
        checkpoint.save_state(self.folder, self.progress, self.model, self.optimizer)

    def _speak(self) -> None:
        """Show what it answers to a greeting now."""
        tokenizer, name = self.corpus.tokenizer, alphabet.self_name(self.recipe.lineage)
        if self.stage.form == "chat":
            prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content=GREETING),))
        else:
            prompt = Prompt(form="transcript", text=f"<{alphabet.GUEST}> {GREETING}\n<{name}>")
        ids, ends = diary.prepare(tokenizer, prompt)
        seed = seed_from(self.recipe.lineage, "live", self.stage.name, self.progress.step)
        sampling = Sampling(max_tokens=32, temperature=0.7, stop=("\n",), seed=seed)
        answer = say(Speaker(self.model, tokenizer, "", ""), prompt, ids, sampling, ends)
        self.watch.words(answer.text)

    def _log(self, measured: float | None = None) -> None:
        """Write a line of metrics and show it; `measured` is bits per byte at an age."""
        progress, loss = self.progress, self.progress.loss
        if loss is None:  # at birth nothing has been trained on yet
            loss = (measured or math.nan) * math.log(2) * self.bytes_per_token
        tokens_per_s = (progress.tokens - self._logged_tokens) / max(self._stepped_at - self._logged_at, 1e-9)
        line = {
            "stage": self.stage.name,
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": round(loss, 5),
            "bits_per_byte": None if measured is None else round(measured, 5),
            "tokens_per_s": round(tokens_per_s, 1),
            "elapsed_s": round(progress.elapsed_s, 3),
        }
        path = self.folder / METRICS_FILE
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_error(error, path) from error
        next_age = self._next_age(progress.step)
        self.watch.step(progress.step, loss, self._bits(loss), tokens_per_s, next_age)
        self._logged_at, self._logged_tokens = time.monotonic(), progress.tokens

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
            if logged["stage"] != self.stage.name or logged["step"] <= last:
                kept.append(line)
        if kept != lines:
            write_file(path, "".join(f"{line}\n" for line in kept))


def model_shape(recipe: Recipe, corpus: Corpus) -> Shape:
    """Return the sizes of the model that a recipe asks for, with the tokens its text has."""
    return Shape(
        vocabulary=corpus.tokenizer.get_vocab_size(),
        width=recipe.model.width,
        depth=recipe.model.depth,
        heads=recipe.model.heads,
        head_dim=recipe.model.head_dim,
        hidden=recipe.model.hidden,
        context=recipe.model.context,
    )


def load_weights(model: GPT, age: Age) -> None:
    """Put an age's weights into a model of its shape. Raises TrainingError if they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict({n: t.float() for n, t in load_file(age.folder / export.WEIGHTS_FILE).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{age.card.address} cannot be trained on: {error}") from error


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Let Ctrl-C set an event instead of breaking off in the middle of a step; a second one breaks off."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_signal: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
