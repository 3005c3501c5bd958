"""The ages of one stage: measured, given a diary, written whole or not at all, and announced after that."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selves.errors import TrainingError
from selves.files import sha256_text
from selves.lineage import Address, Age, AgeCard, read_age
from selves.speech import ChatMessage, Prompt, Sampling, Writing, seed_from
from training import budget, diary, export
from training import tokenizer as alphabet
from training.checkpoint import Progress
from training.evals.run import evaluate_age
from training.evals.text import from_corpus
from training.evaluate import bits_per_byte
from training.generate import Speaker, say
from training.gpt import GPT
from training.kinds import Occasion, kinds_of
from training.recipe import Recipe
from training.shards import Corpus
from training.stage import Stage
from training.watch import Watch

GREETING = "Hi! How are you today?"


class Keeper:
    """Keeps the ages of one stage; lives in the one process that writes."""

    def __init__(self, stage: Stage, recipe: Recipe, corpus: Corpus, folder: Path, watch: Watch) -> None:
        self.stage, self.recipe, self.corpus, self.folder = stage, recipe, corpus, folder
        self.watch = watch
        self.dtype: torch.dtype = getattr(torch, recipe.kept_dtype)
        kinds_of(recipe.diary)  # a mistake in it is told before anything is learned

    def age_folder(self, step: int) -> Path:
        """Return where the age of a step is, or will be."""
        return self.folder / self.stage.age_name(step)

    def rounded(self, model: GPT, weights: Mapping[str, Tensor]) -> GPT:
        """Return a copy of the model with its weights as an age holds them."""
        kept = GPT(model.shape).to(model.cos.device)
        kept.load_state_dict({name: tensor.to(self.dtype).float() for name, tensor in weights.items()})
        return kept

    def measure(self, kept: GPT, progress: Progress) -> float | None:
        """Return bits per byte on held-out text. Raises TrainingError if the weights are not numbers.

        An age that is there already was measured when it was kept; it stays, and a warning says so if these
        weights are others.
        """
        folder = self.age_folder(progress.step)
        if folder.exists():
            age = read_age(folder)
            check_tokens(age, self.recipe, self.corpus)
            if age.card.weights_sha256 != export.weights_sha256(kept, self.dtype):
                self.watch.warn(
                    f"{age.card.address} was kept by a run that computed a little differently; it stays"
                )
            return age.card.bits_per_byte
        measured = bits_per_byte(kept, self.corpus, self.recipe.base.heldout_tokens)
        if not math.isfinite(measured):
            raise TrainingError(
                f"{self.recipe.lineage}@{folder.name} cannot be kept: its weights are not numbers",
                "lower the learning rates in the recipe, under a new lineage name or with --fresh",
            )
        return measured

    def keep(
        self, kept: GPT, progress: Progress, measured: float | None, occasion: Occasion
    ) -> tuple[AgeCard, list[Writing]] | None:
        """Write the age with its diary, then tell of it; None if it was there. Raises DiskError."""
        folder = self.age_folder(progress.step)
        made = None
        if not folder.exists() and measured is not None:
            made = self._write(folder, kept, progress, measured, occasion)
        if made:
            self.watch.age(*made)
        evals = self.recipe.evals
        if evals.at_ages:
            evaluate_age(
                folder, evals.suites, evals.items, text=from_corpus(self.corpus), tell=self.watch.tell
            )
        return made

    def _write(
        self, folder: Path, kept: GPT, progress: Progress, measured: float, occasion: Occasion
    ) -> tuple[AgeCard, list[Writing]]:
        address = Address(self.recipe.lineage, folder.name)
        writings: list[Writing] = []

        def write(weights_sha256: str) -> list[Writing]:
            speaker = Speaker(kept, self.corpus.tokenizer, str(address), weights_sha256)
            writings.extend(diary.write(self.recipe, speaker, self.stage.form, occasion, progress.parent))
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
            recipe=self.recipe.model_dump(mode="json"),
        )
        card = export.keep_age(folder, kept, self.dtype, self.corpus.tokenizer, facts, write)
        return card, writings

    def entangled(self, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, Tensor]:
        """Return a step's batch; where the recipe wants it, what the age of this step wrote is its first row.

        A pure function of the age's diary, so a run that goes on from there reads the same.
        """
        folder = self.age_folder(step)
        if not self.recipe.diary.entangled or not folder.exists():
            return batch
        ids: list[int] = []
        for writing in read_age(folder).writings():
            if writing.occasion != "asked":
                said = writing.utterance
                ids += diary.prepare(self.corpus.tokenizer, said.prompt)[0] + list(said.token_ids)
        inputs, targets = (tensor.clone() for tensor in batch)
        row = torch.tensor(ids[: inputs.shape[1] + 1], dtype=inputs.dtype)
        if len(row) > 1:
            inputs[0, : len(row) - 1], targets[0, : len(row) - 1] = row[:-1], row[1:]
        return inputs, targets

    def speak(self, model: GPT, step: int) -> None:
        """Show what the self answers to a greeting now."""
        tokenizer, name = self.corpus.tokenizer, alphabet.self_name(self.recipe.lineage)
        if self.stage.form == "chat":
            prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content=GREETING),))
        else:
            prompt = Prompt(form="transcript", text=f"<{alphabet.GUEST}> {GREETING}\n<{name}>")
        ids, ends = diary.prepare(tokenizer, prompt)
        seed = seed_from(self.recipe.lineage, "live", self.stage.key, step)
        sampling = Sampling(max_tokens=32, temperature=0.7, stop=("\n",), seed=seed)
        answer = say(Speaker(model, tokenizer, "", ""), prompt, ids, sampling, ends)
        self.watch.words(answer.text)

    def warn_of_disk(self, model: GPT, step: int) -> None:
        """Say before it happens that the ages which are still to come will not fit."""
        missing = [s for s in self.stage.age_steps if s >= step and not self.age_folder(s).exists()]
        each, state = budget.age_bytes(model.shape, self.recipe.kept_dtype), budget.state_bytes(model.shape)
        free = shutil.disk_usage(self.folder).free
        if len(missing) * each + state > free:
            fitting = max(0, int((free - state) // each))
            self.watch.warn(
                f"{len(missing)} ages of {each / 1e6:.0f} MB are to come, but {free / 1e6:.0f} MB are free: "
                f"the disk will be full after {fitting} of them. Make room (selves ages prune), or keep fewer"
            )


def check_tokens(age: Age, recipe: Recipe, corpus: Corpus) -> None:
    """Raise TrainingError unless an age of this run has the tokens of its text; another text has others."""
    if age.card.files.get("tokenizer.json") != sha256_text(alphabet.as_file(corpus.tokenizer)):
        raise other_text(recipe)


def other_text(recipe: Recipe) -> TrainingError:
    """Return the error of a run whose text has changed."""
    return TrainingError(
        f"the text of {recipe.lineage} is not what it began with",
        "put the text back as it was, choose a new lineage name, or begin anew with --fresh",
    )


def load_weights(model: GPT, age: Age) -> None:
    """Put an age's weights into a model of its shape. Raises TrainingError if they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict({n: t.float() for n, t in load_file(age.folder / export.WEIGHTS_FILE).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{age.card.address} cannot be trained on: {error}") from error
