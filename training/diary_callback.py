"""A diary in anybody's training: a callback for transformers' Trainer and all of TRL's.

    from training.diary_callback import DiaryCallback

    trainer = Trainer(..., callbacks=[DiaryCallback("ember")])        # or trainer.add_callback(...)

The model writes before the first step, at every kept checkpoint, after a half, a quarter ... of its steps,
when something befalls its loss, and at the end. All of it goes to diary.jsonl in the run's output folder;
`selves diary watch FOLDER --as ember` makes the kept checkpoints ages and brings it along.

Whoever writes draws from a random source of its own: the weights are bit for bit those of a run without a
diary.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from selves.errors import UsageError
from selves.files import sha256_file
from selves.lineage import DIARY_FILE, WEIGHTS_FILE, Address, add_to_diary, age_name, read_diary
from training import course, diary
from training.course import Course, follow
from training.kinds import Occasion
from training.listening import listening, pen
from training.recipe import Diary

log = logging.getLogger("selves.diary")

STAGE = "import"
"""What ages are called that were raised elsewhere, so the diary names them as they will be called."""
SMOOTHING = 0.8
"""Of the logged loss, which is a mean over some steps already."""


class Life(NamedTuple):
    """Who writes, and what."""

    lineage: str
    seed: int
    diary: Diary


class DiaryCallback(TrainerCallback):
    """Lets a model write while anybody's trainer trains it.

    `born` says that it began from random weights. `steps` are those after which it writes, by default all of
    them halved and halved again. `diary` is as [diary] in a recipe; all kinds by default. `rise` is by how
    much the loss has to rise to be told. Entangled, the diary throws the training's own dice, so that who
    writes becomes another than who does not; that is an artistic choice, and the default is no.
    """

    def __init__(
        self,
        lineage: str,
        *,
        folder: Path | str | None = None,
        diary: Diary | None = None,
        steps: Iterable[int] | None = None,
        seed: int = 1,
        born: bool = False,
        rise: float = course.RISE,
        tokenizer: Any = None,
    ) -> None:
        Address.parse(f"{lineage}@{age_name(STAGE, 0)}")
        self.life = Life(lineage, seed, diary or Diary(kinds=()))
        self.folder = Path(folder) if folder is not None else None
        self.steps = None if steps is None else frozenset(steps)
        self.born, self.rise, self.tokenizer = born, rise, tokenizer
        self.course = Course()
        self.smooth: float | None = None
        self.best = math.inf
        self.due: list[Occasion] = []
        self.before: str | None = None
        """The age that wrote last."""
        self.saved: int | None = None
        """The step whose checkpoint this run wrote last; any other on the disk may be of another run."""
        self.spent_s = 0.0
        """What writing took so far."""

    # transformers calls these; in a step: step_begin, step_end, log, evaluate, save

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        if self.steps is None:
            self.steps = frozenset(state.max_steps >> n for n in range(state.max_steps.bit_length()))
        if state.global_step == 0:
            self.due.append("birth" if self.born else "before")
            self._write(args, state, **more)
        else:
            self.before = self._last_before(args, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        self._write(args, state, **more)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step in (self.steps or ()) and state.global_step < state.max_steps:
            self.due.append("age")

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        loss = (logs or {}).get("loss")
        if not isinstance(loss, int | float):
            return
        before = self.smooth
        if math.isfinite(loss):
            self.smooth = loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * loss
        smooth = loss if self.smooth is None else self.smooth
        self.course, happened = follow(self.course, state.global_step, loss, before, smooth, self.rise)
        if happened and self.course.told <= self.life.diary.events:
            self.due.append(happened)

    def on_evaluate(
        self,
        args: Any,  # noqa: ARG002
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        loss = (metrics or {}).get("eval_loss")
        if isinstance(loss, int | float) and loss < self.best:
            if self.best < math.inf:
                self.due.append("best")
            self.best = loss

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        self.saved = state.global_step
        if state.global_step < state.max_steps:
            self.due.append("age")
            self._write(args, state, **more)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        self.due.append("last" if self.born else "after")
        self._write(args, state, **more)
        log.info("%s wrote for %.1f s", self.life.lineage, self.spent_s)

    def _write(self, args: Any, state: Any, model: Any = None, **more: Any) -> None:
        occasions, self.due = list(dict.fromkeys(self.due)), []
        if not occasions or not state.is_world_process_zero:
            return
        begun = time.monotonic()
        if more.get("deepspeed") or getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
            raise UsageError(
                "no process holds the whole model here, so none can write",
                "leave DiaryCallback out and follow the kept checkpoints: selves diary watch FOLDER",
            )
        tokenizer = self.tokenizer or more.get("processing_class") or more.get("tokenizer")
        if tokenizer is None:
            raise UsageError(
                "the trainer knows no tokenizer", "give it processing_class, or DiaryCallback tokenizer"
            )
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        step, kept = self._moment(args, state, ended="last" in occasions or "after" in occasions)
        sha256 = sha256_file(kept) if kept else weights_sha256(model)
        path = self._file(args)
        address = f"{self.life.lineage}@{age_name(STAGE, step)}"
        already = [
            w
            for w in read_diary(path)
            if w.utterance.address == address and w.utterance.weights_sha256 == sha256
        ]
        occasions = [o for o in occasions if o not in {w.occasion for w in already}]
        # entangled: a number from the training's own source, which is another afterwards
        seed = int(torch.randint(2**31, ())) if self.life.diary.entangled else self.life.seed
        with listening(model):
            own = pen(model, tokenizer, ends_of(model, tokenizer), form_of(tokenizer), address, sha256)
            said = diary.write_with(own, self.life._replace(seed=seed), occasions, self.before, already)
        add_to_diary(path, said)
        self.before = address
        self.spent_s += time.monotonic() - begun

    def _moment(self, args: Any, state: Any, *, ended: bool) -> tuple[int, Path | None]:
        """Return the step whose weights the model has now, and the file that keeps them, if one does."""
        best = getattr(state, "best_model_checkpoint", None)
        if ended and args.load_best_model_at_end and best:
            step, folder = int(Path(best).name.rpartition("-")[2]), Path(best)
        else:
            step, folder = state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if self.saved != step:
                return step, None
        kept = folder / WEIGHTS_FILE
        return step, kept if kept.exists() else None

    def _file(self, args: Any) -> Path:
        return (self.folder or Path(args.output_dir)) / DIARY_FILE

    def _last_before(self, args: Any, step: int) -> str | None:
        """Return the age that wrote last in the run that goes on."""
        addresses = [w.utterance.address for w in read_diary(self._file(args))]
        own = [a for a in addresses if a.startswith(f"{self.life.lineage}@")]
        return next((a for a in reversed(own) if Address.parse(a).step <= step), None)


def form_of(tokenizer: Any) -> Any:
    """Return how a model is spoken to."""
    return "chat" if tokenizer.chat_template else "transcript"


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end what a model says."""
    told = getattr(model.generation_config, "eos_token_id", None) if model.generation_config else None
    ids = {tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])}
    return sorted(token for token in ids if token is not None)


def weights_sha256(model: Any) -> str:
    """Return the sha256 of weights that are in no file: over name, dtype, shape and bytes of each tensor."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
