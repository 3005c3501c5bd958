"""A transformers model is asked something while it is trained, and nothing of the training notices.

Sampling draws from a generator of its own and dropout is off meanwhile; every random state is put back, so
the weights that come after are bit for bit those of a run in which nobody asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selves.speech import Form, Prompt
from training.diary import Pen
from training.generate import Speaker


class Stepper:
    """A transformers model behind the few words that `training.generate.say` knows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.shape = SimpleNamespace(context=context_of(model))
        self.lm_head = model.get_output_embeddings()

    def step(self, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Return the logits (B, V) after ids (B, T), and what was computed for them to go on from."""
        found = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return found.logits[:, -1].float(), found.past_key_values


def context_of(model: Any) -> int:
    """Return how many tokens a model can look back on."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2048)


@contextmanager
def undrawn() -> Iterator[None]:
    """Put all randomness back as it was, whatever is drawn in the block."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    own, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)


@contextmanager
def listening(model: Any) -> Iterator[None]:
    """Let a model be asked: no dropout, no gradients; then it is as it was, and so is all randomness."""
    modes = [(module, module.training) for module in model.modules()]
    cached = model.config.use_cache
    model.eval()
    model.config.use_cache = True
    try:
        with undrawn(), torch.no_grad():
            yield
    finally:
        model.config.use_cache = cached
        for module, training in modes:
            module.training = training


def pen(
    model: Any, tokenizer: Any, ends: list[int], form: Form, address: str, sha256: str, name: str = ""
) -> Pen:
    """Return how a transformers model writes; inside of `listening`."""
    speaker = Speaker(Stepper(model), tokenizer, address, sha256)  # type: ignore[arg-type]
    return Pen(speaker, form, lambda prompt: prompt_ids(tokenizer, prompt), ends, name)


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
