"""A self that learned what is preferred: it judges answers, and what it says of them is a reward for others.

    method = "reward"                                     [[data]] with prompt, chosen, rejected

    [reward]                                              in the recipe of a self that learns from it
    functions = ["training.post.judging:liked"]
    options = { judge = "critic@reward-000080" }

A judge is an age like any other, so it speaks, writes its diary and is served; beside its weights lies
`score.json`, one row of weights by which its last state becomes a number (Ouyang et al. 2022,
arXiv:2203.02155).
What the number is worth alone means nothing: only that of one answer against that of another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from selves.errors import AgeError, ConfigError, UsageError
from selves.lineage import ADAPTER_CONFIG_FILE, ADAPTER_FILE, find_age
from selves.settings import House
from training.evals.items import wilson
from training.figure import Figure, mean
from training.imports import load_tokenizer
from training.post import models
from training.post.models import Base
from training.post.recipe import PostRecipe
from training.post.rows import Message, Row

HEAD_FILE = "score.json"
"""No safetensors: an engine would take it for a part of the model."""
HEAD = "score"
"""What transformers calls the row that makes a number of a state."""
KEPT = 2
"""How many judges stay in memory at most."""


class Judge(NamedTuple):
    """A model that gives numbers, and what it reads with."""

    model: Any
    tokenizer: Any
    context: int

    def scores(self, talks: Sequence[Sequence[Message]]) -> list[float]:
        """Return a number for the last turn of each conversation; of long ones the end is read."""
        import torch

        from training.listening import listening

        found = []
        with listening(self.model):
            for talk in talks:
                ids = self.tokenizer.apply_chat_template(list(talk), return_dict=True)["input_ids"]
                row = torch.tensor([ids[-self.context :]], device=self.model.device)
                found.append(
                    float(self.model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0, 0])
                )
        return found


def load(folder: Path, pad: int | None, seed: int) -> Any:
    """Return the model in a folder as one that gives a number; what makes it is random still.

    Raises ConfigError where transformers has no such model of its architecture.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    loader: Any = AutoModelForSequenceClassification
    try:
        model = loader.from_pretrained(str(folder), num_labels=1, dtype="auto", local_files_only=True)
    except ValueError as error:
        raise ConfigError(
            f"what is in {folder} cannot learn to judge: {(str(error).splitlines() or [''])[0]}",
            "begin as a model whose architecture transformers can classify with",
        ) from error
    model.config.pad_token_id = pad
    return models.widened(model)


def voice_of(judge: Any, base: Base, seed: int) -> Any:
    """Return the model that speaks with a judge's own weights: they are shared, not copied."""
    from training.listening import undrawn

    inner = _inner(judge)
    with undrawn():
        voice = models.load(base, seed).to(inner.device)
    setattr(voice, voice.base_model_prefix, getattr(inner, inner.base_model_prefix))
    voice.tie_weights()
    return voice


def keep_head(folder: Path, judge: Any) -> None:
    """Write what makes a judge's number; take it out of what PEFT wrote, which is then an adapter as any."""
    from safetensors.torch import load_file, save_file

    head = getattr(_inner(judge), HEAD)
    head = getattr(head, "modules_to_save", {"default": head})["default"]
    row = head.weight.detach().float().cpu()[0].tolist()
    (folder / HEAD_FILE).write_text(json.dumps({HEAD: row}) + "\n", "utf-8")
    path = folder / ADAPTER_FILE
    if path.exists():
        pairs = {name: tensor for name, tensor in load_file(path).items() if f".{HEAD}." not in name}
        save_file(pairs, path, metadata={"format": "pt"})
        config = json.loads((folder / ADAPTER_CONFIG_FILE).read_text("utf-8"))
        config |= {"modules_to_save": None, "task_type": "CAUSAL_LM"}
        (folder / ADAPTER_CONFIG_FILE).write_text(
            json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8"
        )


def measure(recipe: PostRecipe, judge: Any, base: Base, rows: Sequence[Row]) -> list[Figure]:
    """Return how often, and by how much, the chosen one of two answers gets the higher number."""
    asked = rows[: recipe.probes.items]
    if not asked:
        return []
    judging = Judge(judge, base.tokenizer, base.age.card.context_tokens)
    chosen, rejected = (
        judging.scores([row["prompt"] + row[column] for row in asked]) for column in ("chosen", "rejected")
    )
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    wins = sum(margin > 0 for margin in margins)
    low, high = wilson(wins, len(asked))
    share = Figure(
        name="held-out pairs: chosen gets more", value=wins / len(asked), low=low, high=high, n=len(asked),
        share=True,
    )  # fmt: skip
    return [share, mean("held-out pairs: chosen - rejected", margins)]


@lru_cache(KEPT)
def open_judge(house: House, address: str) -> Judge:
    """Return an age that judges. Raises AgeError if it is none."""
    import torch

    from training.listening import undrawn

    age = find_age(house.checkpoints, address)
    if not (age.folder / HEAD_FILE).exists():
        raise AgeError(f"{address} is no judge: it has no {HEAD_FILE}", 'make one: method = "reward"')
    tokenizer = load_tokenizer(age.folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    under = age.base()
    with undrawn(), models.quietly():
        model = load((under or age).folder, tokenizer.pad_token_id, 0)
        if under is not None:
            voice = models.folded(age, under)
            setattr(model, model.base_model_prefix, getattr(voice, voice.base_model_prefix))
        getattr(model, HEAD).weight.data.copy_(torch.tensor([age.read_json(HEAD_FILE)[HEAD]]))
    return Judge(model, tokenizer, age.card.context_tokens)


def liked(
    prompts: Sequence[Sequence[Message] | str], completions: Sequence[str], house: House, judge: str = ""
) -> list[float]:
    """What the age that `judge` names makes of each answer."""
    if not judge:
        raise UsageError("no judge is named", 'options = { judge = "critic@reward-000080" } in [reward]')
    asked = [[{"role": "user", "content": p}] if isinstance(p, str) else list(p) for p in prompts]
    talks = [
        [*prompt, {"role": "assistant", "content": said}]
        for prompt, said in zip(asked, completions, strict=True)
    ]
    return open_judge(house, judge).scores(talks)


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
