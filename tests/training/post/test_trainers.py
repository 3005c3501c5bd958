"""What our trainers ask TRL to compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from training.imports import load_model
from training.post import trainers


def test_on_a_cpu_too_only_what_is_learned_is_scored_and_comes_to_the_same(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.kernels.chunked_logprob import _use_triton
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_use_triton", _use_triton)
    scored: list[int] = []
    apply = utils._ChunkedLogProbFunction.apply

    def counted(hidden: Any, *rest: Any) -> Any:
        scored.append(len(hidden))
        return apply(hidden, *rest)

    monkeypatch.setattr(utils._ChunkedLogProbFunction, "apply", counted)
    model: Any = load_model(checkpoints / "tiny" / "chat-000008").float()
    utils.add_fused_lm_head(model)
    ids = torch.arange(20).reshape(2, 10)
    labels = ids.clone()
    labels[:, :-3] = -100

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(input_ids=ids, labels=labels, fused_lm_head=True).loss.backward()
        return [weight.grad.clone() for weight in model.parameters()]

    before = gradients()
    trainers.score_what_is_learned()
    torch.testing.assert_close(gradients(), before)
    assert scored == [18, 6]
