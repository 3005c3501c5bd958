"""Ages of many architectures with random weights, for tests of the embedded engine."""

from __future__ import annotations

import queue
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import (
    ArceeConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Qwen2Config,
    Qwen3Config,
)

from selves.errors import SelvesError
from selves.files import sha256_file
from selves.lineage import Age, AgeCard
from serving.asks import Ask, Piece, PromptScores
from serving.engine import Delivery, Job
from serving.rounds import Rounds

VOCABULARY = 320
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
TOGETHER: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "llama-biased": LlamaConfig(
        **SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "mistral": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=32),
    "arcee": ArceeConfig(**SIZES, num_key_value_heads=2),
    "neox": GPTNeoXConfig(**SIZES),
    "neox-serial": GPTNeoXConfig(**SIZES, use_parallel_residual=False),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_layer=2, n_embd=64, n_head=4, n_positions=512),
}
"""What `decoder.py` runs."""
ALONE: dict[str, Any] = {
    "gemma2": Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=16, sliding_window=32),
    "mistral-sliding": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=32),
    "olmo2": Olmo2Config(**SIZES, num_key_value_heads=2, pad_token_id=1),
}
"""What is left to transformers' own classes."""


def make_age(folder: Path, config: Any, tokenizer_of: Path, *, seed: int = 0) -> Age:
    """Write an age with random weights, spread wide so that no two tokens tie, and random biases."""
    config.bos_token_id, config.eos_token_id = 0, 1
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
            else:
                parameter.mul_(4)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder)
    card = AgeCard(
        address=f"{folder.parent.name}@{folder.name}",
        created_at=datetime.now(UTC),
        form="transcript",
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        context_tokens=512,
        weights_sha256=sha256_file(folder / "model.safetensors"),
    )
    (folder / "age.json").write_text(card.model_dump_json())
    return Age(card, folder)


class Heard:
    """Collects what a job delivers."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Delivery] = queue.SimpleQueue()

    def __call__(self, item: Delivery) -> None:
        self._queue.put(item)

    def next(self) -> Delivery:
        return self._queue.get(timeout=600)

    def now(self) -> list[Delivery]:
        """Return what has come so far."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def all(self) -> list[Piece]:
        """Return all pieces, waiting for the last."""
        pieces: list[Piece] = []
        while not pieces or pieces[-1].finish is None:
            item = self.next()
            assert isinstance(item, Piece), item
            pieces.append(item)
        return pieces


def speak(rounds: Rounds, *asked: tuple[Age, list[int], Ask]) -> list[list[Piece]]:
    """Let all of these speak at the same time; returns what each said. Raises what one of them met."""
    heard = [Heard() for _ in asked]
    for (age, ids, ask), one in zip(asked, heard, strict=True):
        rounds.add(Job(age, ids, ask, one))
    while rounds.busy:
        rounds.play()
    said = []
    for one in heard:
        items = one.now()
        for item in items:
            if isinstance(item, SelvesError):
                raise item
        said.append([item for item in items if isinstance(item, Piece)])
    return said


def scores(rounds: Rounds, age: Age, ids: list[int], ask: Ask) -> PromptScores:
    """Return the scores of a prompt."""
    heard = Heard()
    rounds.add(Job(age, ids, ask, heard))
    while rounds.busy:
        rounds.play()
    first = heard.next()
    assert isinstance(first, PromptScores), first
    return first
