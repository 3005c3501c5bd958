"""Muon's updates are orthogonal, and an optimizer that is put down and taken up goes on the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.gpt import GPT, Shape
from training.optim import Optimizer, even_out, learning_rate, orthogonalise

SHAPE = Shape(vocabulary=64, width=32, depth=2, heads=1, head_dim=32, hidden=96, context=16)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 96, 32), (2, 32, 96)])
def test_an_update_turns_and_does_not_stretch(shape: tuple[int, int, int]) -> None:
    stack = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    singular = torch.linalg.svdvals(orthogonalise(stack))
    assert singular.min() > 0.7
    assert singular.max() < 1.3


def test_a_matrix_without_gradient_stays_where_it_is() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 8, 8)), torch.zeros(1, 8, 8))


def trained(steps: int, interrupted_at: int | None = None) -> GPT:
    model = GPT(SHAPE)
    model.initialise(1)
    optimizer = Optimizer(model.named_parameters(), (0.04, 0.06, 0.008))
    source = torch.Generator().manual_seed(1)
    batches = [torch.randint(0, 64, (2, 17), generator=source) for _ in range(steps)]
    for step, ids in enumerate(batches):
        if step == interrupted_at:
            state = {name: tensor.clone() for name, tensor in optimizer.state_dict().items()}
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            model = GPT(SHAPE)
            model.load_state_dict(weights)
            optimizer = Optimizer(model.named_parameters(), (0.04, 0.06, 0.008))
            with torch.no_grad():
                optimizer.load_state_dict(state)
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step(learning_rate(step, steps, warmup=0.1, decay=0.5))
    return model


def test_an_optimizer_that_is_kept_and_loaded_goes_on_bit_for_bit() -> None:
    straight, interrupted = trained(8), trained(8, interrupted_at=5)
    for one, two in zip(straight.parameters(), interrupted.parameters(), strict=True):
        assert torch.equal(one, two)


def test_every_parameter_learns() -> None:
    before, after = trained(0), trained(3)
    for (name, one), (_, two) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert not torch.equal(one, two), name


@given(
    steps=st.integers(1, 5000),
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
)
def test_learning_rates_are_never_zero_or_above_their_base(steps: int, warmup: float, decay: float) -> None:
    scales = [learning_rate(step, steps, warmup=warmup, decay=decay) for step in {0, steps // 2, steps - 1}]
    assert all(0 < scale <= 1 for scale in scales)


def test_learning_rates_rise_stay_and_fall() -> None:
    scales = [learning_rate(step, 100, warmup=0.1, decay=0.5) for step in range(100)]
    assert scales[:10] == sorted(scales[:10])
    assert set(scales[10:50]) == {1.0}
    assert scales[50:] == sorted(scales[50:], reverse=True)
    assert scales[-1] == pytest.approx(0.02)


def test_evening_out_damps_the_loud_rows_and_keeps_the_size() -> None:
    loud = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(3))
    loud[:, 0] *= 10
    spread = torch.zeros(2, 8, 1)
    even = even_out(loud, spread)
    torch.testing.assert_close(even.square().sum((-2, -1)), loud.square().sum((-2, -1)))
    sizes = even.square().mean(-1)
    assert float((sizes.amax(-1) / sizes.amin(-1)).max()) < 1.01
    assert torch.equal(even_out(torch.zeros(1, 8, 4), torch.zeros(1, 8, 1)), torch.zeros(1, 8, 4))
