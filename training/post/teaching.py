"""An age that teaches another: what it would say next, at every token of the other's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selves.errors import ConfigError
from selves.lineage import find_age
from selves.settings import House
from selves.speech import ChatMessage
from training.imports import load_model
from training.post.figures import Figure, Loaded, greedy, mean
from training.post.models import Base, widened
from training.post.recipe import PostRecipe
from training.post.rows import Row
from training.post.speaking import listening


def load_teacher(recipe: PostRecipe, base: Base, house: House) -> Any:
    """Return the teacher's model. Raises ConfigError unless it has the pupil's tokens; AgeError."""
    age = find_age(house.checkpoints, recipe.distill.teacher)
    if age.card.adapter_of is not None:
        raise ConfigError(
            f"the teacher {age.card.address} is an adapter", 'make a whole age of it first: method = "merge"'
        )
    if age.card.files.get("tokenizer.json") != base.age.card.files.get("tokenizer.json"):
        raise ConfigError(
            f"the teacher {age.card.address} has other tokens than {base.age.card.address}",
            "name an age of the same lineage, or one that began as the same model",
        )
    return widened(load_model(age.folder))


def distance(recipe: PostRecipe, model: Any, teacher: Any, base: Base, rows: Sequence[Row]) -> Figure:
    """Return how far a model's next token is from the teacher's, along the teacher's own greedy answers."""
    import torch

    reader = Loaded(teacher, base.tokenizer, base.ends)
    each = []
    with listening(model), listening(teacher), greedy(teacher):
        for row in rows:
            prompt = reader.template(tuple(ChatMessage.model_validate(m) for m in row["prompt"]))
            ids = torch.tensor([prompt], device=teacher.device)
            whole = teacher.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=recipe.distill.max_tokens,
                do_sample=False,
                eos_token_id=base.ends or None,
                pad_token_id=base.tokenizer.pad_token_id,
            )
            told, own = (
                one(input_ids=whole.to(one.device))
                .logits[0, len(prompt) - 1 : -1]
                .float()
                .log_softmax(-1)
                .cpu()
                for one in (teacher, model)
            )
            each.append(float((told.exp() * (told - own)).sum(-1).mean()))
    return mean("held-out prompts: nats from the teacher, per token", each, better=False)
