"""A self writes while it is post-trained, and nothing of the training notices.

Sampling draws from a generator of its own and dropout is off meanwhile, so no random state is moved and the
weights that come after are bit for bit those of a run in which nobody wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from selves.speech import Form, Prompt, Sampling, Writing, seed_from
from training import diary
from training.generate import Speaker, say
from training.post.recipe import PostRecipe


class Stepper:
    """A transformers model behind the few words that `training.generate.say` knows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.shape = SimpleNamespace(context=model.config.max_position_embeddings)
        self.lm_head = model.get_output_embeddings()

    def step(self, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Return the logits (V,) after ids (1, T), and what was computed for them to go on from."""
        found = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return found.logits[0, -1].float(), found.past_key_values


@contextmanager
def listening(model: Any) -> Iterator[None]:
    """Let a model be asked: no dropout, no gradients; then it is as it was, and so is all randomness."""
    training, cached = model.training, model.config.use_cache
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    model.eval()
    model.config.use_cache = True
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            yield
    finally:
        model.config.use_cache = cached
        model.train(training)


def write(
    recipe: PostRecipe, model: Any, tokenizer: Any, ends: list[int], form: Form, address: str, sha256: str
) -> list[Writing]:
    """Return all that an age writes when it is kept. The seed names lineage, age, kind and number."""
    speaker = Speaker(Stepper(model), tokenizer, address, sha256)  # type: ignore[arg-type]
    writings: list[Writing] = []
    with listening(model):
        for kind in diary.KINDS:
            prompt = diary.frame(recipe, kind, form)  # type: ignore[arg-type]
            ids = prompt_ids(tokenizer, prompt)
            for number in range(recipe.diary.samples):
                sampling = Sampling(
                    max_tokens=recipe.diary.max_tokens,
                    temperature=recipe.diary.temperature,
                    stop=() if prompt.form == "chat" else ("\n\n", "\n<"),
                    seed=seed_from(recipe.lineage, recipe.seed, address, kind, number),
                )
                said = say(speaker, prompt, ids, sampling, ends)
                to = "future" if kind == "letter" else None
                writings.append(Writing(kind=kind, to=to, number=number, utterance=said))
    return writings


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return a prompt's token ids as the age's own tokenizer and template have them; never none."""
    if prompt.form == "chat":
        asked = [message.model_dump() for message in prompt.messages]
        return list(
            tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
        )
    ids = list(tokenizer(prompt.text)["input_ids"])
    start = [t for t in (tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None][:1]
    return ids or start
