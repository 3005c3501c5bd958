"""An age that teaches another: what it would say next, at every token of the other's own answers.

Of `distill` it is another age. Of `sdft` (Shenfeld et al. 2026, arXiv:2601.19897) it is the base itself,
which reads more than the new self is shown: letters of its past selves, say. So one learns to be, without
reading, as one is after reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from selves.errors import ConfigError
from selves.lineage import Age, find_age
from selves.settings import House
from selves.speech import ChatMessage
from training.figure import Figure, mean
from training.imports import load_model
from training.post.figures import Loaded, greedy
from training.post.models import Base, load, widened
from training.post.recipe import PostRecipe
from training.post.rows import Message, Row
from training.post.speaking import listening


def read_by(row: Row, recipe: PostRecipe) -> list[Message]:
    """Return what the teacher is asked (pure), as TRL's trainer puts it together."""
    if recipe.method != "sdft":
        return list(row["prompt"])
    *before, last = row["prompt"]
    asked = recipe.distill.reading.format(
        prompt=last["content"], privileged_context=row["privileged_context"]
    )
    return [*before, {"role": "user", "content": asked}]


def load_teacher(recipe: PostRecipe, base: Base, house: House) -> Any:
    """Return the teacher's model, None where nobody teaches, or the base under an adapter that learns.

    Raises as `find_teacher`.
    """
    if recipe.method == "sdft":
        return None if recipe.lora else load(base, recipe.seed)
    age = find_teacher(recipe, base, house)
    return age and widened(load_model(age.folder))


def find_teacher(recipe: PostRecipe, base: Base, house: House) -> Age | None:
    """Return the other age that teaches, None where none does.

    Raises ConfigError unless it has the pupil's tokens; AgeError, UsageError.
    """
    if recipe.method != "distill":
        return None
    age = find_age(house.checkpoints, recipe.distill.teacher)
    if age.card.adapter_of is not None:
        raise ConfigError(
            f"the teacher {age.card.address} is an adapter", 'make a whole age of it first: method = "merge"'
        )
    here = base.age.card.weights_sha256  # one that is not brought in yet has no hashes
    if here and age.card.files.get("tokenizer.json") != base.age.card.files.get("tokenizer.json"):
        raise ConfigError(
            f"the teacher {age.card.address} has other tokens than {base.age.card.address}",
            "name an age of the same lineage, or one that began as the same model",
        )
    return age


def distance(recipe: PostRecipe, model: Any, teacher: Any, base: Base, rows: Sequence[Row]) -> Figure:
    """Return how far a model's next token is from the teacher's, along the teacher's own greedy answers.

    The model is shown the prompt; the teacher also what it alone reads (sdft). Without a teacher it is the
    model itself, its adapter put aside.
    """
    import torch

    aside = model.disable_adapter if teacher is None else nullcontext
    teacher = model if teacher is None else teacher
    reader = Loaded(teacher, base.tokenizer, base.ends)
    each = []
    with listening(model), listening(teacher), greedy(teacher):
        for row in rows:
            prompt, read = (
                reader.template(tuple(ChatMessage.model_validate(m) for m in messages))
                for messages in (row["prompt"], read_by(row, recipe))
            )
            ids = torch.tensor([read], device=teacher.device)
            with aside():
                whole = teacher.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=recipe.distill.max_tokens,
                    do_sample=False,
                    eos_token_id=base.ends or None,
                    pad_token_id=base.tokenizer.pad_token_id,
                )
                length = whole.shape[1] - len(read)
                told = _said_next(teacher, whole, length)
            own_ids = torch.cat([torch.tensor([prompt], device=whole.device), whole[:, len(read) :]], dim=1)
            own = _said_next(model, own_ids, length)
            each.append(float((told.exp() * (told - own)).sum(-1).mean()))
    who = "the base that reads" if recipe.method == "sdft" else "the teacher"
    return mean(f"held-out prompts: nats from {who}, per token", each, better=False)


def _said_next(model: Any, ids: Any, length: int) -> Any:
    """Return the log-probabilities (length, V) of what stands at the last `length` places."""
    return model(input_ids=ids.to(model.device)).logits[0, -length - 1 : -1].float().log_softmax(-1).cpu()
