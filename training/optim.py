"""Muon for the matrices, AdamW for the rest: what learns fastest from few tokens.

Muon: Keller Jordan and others 2024 (kellerjordan.github.io/posts/muon): momentum, made orthogonal by a few
Newton-Schulz iterations, is the update of each hidden matrix. The iterations' coefficients are Polar Express
(Amsel, Persson, Musco, Gower 2025, arXiv:2505.16932). Then rows whose updates keep being large are damped, as
in NorMuon (Li, Liu, Liang, Wei 2025, arXiv:2510.05491), without changing how large the whole update is.
Matrices of one shape are updated as one stack, since at these sizes calls cost more than the arithmetic.
AdamW: Loshchilov and Hutter 2019 (arXiv:1711.05101), without weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training import parallel
from training.parallel import World

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
MOMENTUM = 0.95
SPREAD_MEMORY = 0.95
BETAS = (0.8, 0.95)
EPSILON = 1e-10


def orthogonalise(stack: Tensor) -> Tensor:
    """Return the nearest matrices with all singular values about 1, for a stack (N, R, C)."""
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def even_out(updates: Tensor, spread: Tensor) -> Tensor:
    """Return updates (N, R, C) with rows, or columns of wide matrices, brought to a like size over time.

    `spread` (N, R, 1) or (N, 1, C) is the running mean of their squares and is brought up to date. The sum of
    an update's squares stays the same.
    """
    squares = updates.square().mean(-1 if spread.shape[-1] == 1 else -2, keepdim=True)
    spread.lerp_(squares, 1 - SPREAD_MEMORY)
    damping = spread.clamp_min(EPSILON).rsqrt()
    before = squares.sum((-2, -1), keepdim=True)
    after = (squares * damping.square()).sum((-2, -1), keepdim=True)
    return updates * (damping * (before / after.clamp_min(EPSILON)).sqrt())


class _Stack:
    """All matrices of one shape (R, C); this process turns its share of them into updates."""

    def __init__(self, shape: tuple[int, int], world: World) -> None:
        self.shape, self.world = shape, world
        self.parameters: list[nn.Parameter] = []
        self.momentum = torch.empty(0)
        self.spread = torch.empty(0)

    def begin(self) -> None:
        """Make room for the state, when all parameters are known."""
        rows, columns = self.shape
        self.each = -(-len(self.parameters) // self.world.size)
        self.momentum = torch.zeros(self.each, *self.shape, device=self.parameters[0].device)
        self.spread = self.momentum.new_zeros(self.each, *((rows, 1) if rows >= columns else (1, columns)))

    def updates(self, dtype: torch.dtype) -> list[Tensor]:
        """Return the orthogonal update of every matrix; Newton-Schulz is shared out among processes."""
        begin = self.world.rank * self.each
        gradients = torch.zeros_like(self.momentum)
        for number, parameter in enumerate(self.parameters):
            gradient = parallel.whole(_gradient(parameter))
            if begin <= number < begin + self.each:
                gradients[number - begin] = gradient
        self.momentum.lerp_(gradients, 1 - MOMENTUM)
        turned = orthogonalise(gradients.lerp_(self.momentum, MOMENTUM).to(dtype)).float()
        mine = even_out(turned, self.spread)
        return list(parallel.gathered(mine, self.world)[: len(self.parameters)].unbind())


class Optimizer:
    """Muon on every matrix inside the blocks, AdamW on embeddings, head and norms.

    `names` of parameters are Qwen3's. Learning rates are given at each step, as multiples of `rates`
    (matrices, embedding, rest). All state is in `state_dict()`; nothing here is random. Over several
    processes Muon's momentum and arithmetic are shared out by whole matrices, and with FSDP2 Adam's state by
    rows.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        rates: tuple[float, float, float],
        *,
        weight_decay: float = 0.0,
        world: World | None = None,
    ) -> None:
        self.rates, self.weight_decay = rates, weight_decay
        self.world = world or World()
        self.steps = 0
        self._stacks: dict[tuple[int, int], _Stack] = {}
        self._rest: list[tuple[str, nn.Parameter, float]] = []
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        for name, parameter in parameters:
            if parameter.ndim == 2 and ".layers." in name:
                shape = (parameter.shape[0], parameter.shape[1])
                self._stacks.setdefault(shape, _Stack(shape, self.world)).parameters.append(parameter)
            else:
                rate = rates[1] if "embed_tokens" in name else rates[2]
                self._rest.append((name, parameter, rate))
                self._first.append(torch.zeros_like(parallel.part(parameter)))
                self._second.append(torch.zeros_like(parallel.part(parameter)))
        for stack in self._stacks.values():
            stack.begin()

    @torch.no_grad()
    def step(self, scale: float, dtype: torch.dtype = torch.float32) -> None:
        """Update all parameters from their gradients at `scale` times the base rates.

        `dtype` is that of Newton-Schulz' matrix products. Gradients are cleared.
        """
        self.steps += 1
        for stack in self._stacks.values():
            self._turn(stack, scale, dtype)
        self._adam(scale)
        for stack in self._stacks.values():
            for parameter in stack.parameters:
                parameter.grad = None
        for _, parameter, _ in self._rest:
            parameter.grad = None

    def _turn(self, stack: _Stack, scale: float, dtype: torch.dtype) -> None:
        rate = self.rates[0] * scale * math.sqrt(max(1.0, stack.shape[0] / stack.shape[1]))
        updates = [
            parallel.part_of(update, parameter)
            for update, parameter in zip(stack.updates(dtype), stack.parameters, strict=True)
        ]
        held = [parallel.part(parameter) for parameter in stack.parameters]
        if self.weight_decay:
            # Cautious: only where the update shrinks the weight anyway (Chen et al. 2025, arXiv:2510.12402).
            for weight, update in zip(held, updates, strict=True):
                weight.sub_(weight * (weight * update > 0), alpha=self.rates[0] * scale * self.weight_decay)
        torch._foreach_add_(held, updates, alpha=-rate)

    def _adam(self, scale: float) -> None:
        gradients = [parallel.part(_gradient(p)) for _, p, _ in self._rest]
        torch._foreach_lerp_(self._first, gradients, 1 - BETAS[0])
        torch._foreach_mul_(self._second, BETAS[1])
        torch._foreach_addcmul_(self._second, gradients, gradients, 1 - BETAS[1])
        bias_1, bias_2 = 1 - BETAS[0] ** self.steps, 1 - BETAS[1] ** self.steps
        denominators = torch._foreach_sqrt(torch._foreach_div(self._second, bias_2))
        torch._foreach_add_(denominators, EPSILON)
        for (_, parameter, rate), first, denominator in zip(
            self._rest, self._first, denominators, strict=True
        ):
            parallel.part(parameter).addcdiv_(first, denominator, value=-rate * scale / bias_1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor of the state, whole, by name; every process must ask.

        What several processes made can be loaded by any other number of them.
        """
        state = {"steps": torch.tensor(self.steps)}
        for (rows, columns), stack in self._stacks.items():
            for name, part in (("momentum", stack.momentum), ("spread", stack.spread)):
                whole = parallel.gathered(part, self.world)[: len(stack.parameters)]
                state[f"{name}.{rows}x{columns}"] = whole
        for (name, parameter, _), first, second in zip(self._rest, self._first, self._second, strict=True):
            state[f"first.{name}"] = parallel.whole_of(first, parameter)
            state[f"second.{name}"] = parallel.whole_of(second, parameter)
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned. Raises KeyError or RuntimeError if it is of another model."""
        self.steps = int(state["steps"])
        for (rows, columns), stack in self._stacks.items():
            begin = self.world.rank * stack.each
            for name, part in (("momentum", stack.momentum), ("spread", stack.spread)):
                mine = state[f"{name}.{rows}x{columns}"][: len(stack.parameters)][begin : begin + stack.each]
                part[: len(mine)].copy_(mine)
        for (name, parameter, _), first, second in zip(self._rest, self._first, self._second, strict=True):
            first.copy_(parallel.part_of(state[f"first.{name}"], parameter))
            second.copy_(parallel.part_of(state[f"second.{name}"], parameter))


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None, "every parameter takes part in the loss"
    return parameter.grad


def learning_rate(step: int, steps: int, *, warmup: float, decay: float) -> float:
    """Return the scale of all learning rates at `step` (from 0): up, flat, then linearly to zero.

    `warmup` and `decay` are shares of all steps.
    """
    rising = max(1, round(steps * warmup))
    falling = max(1, round(steps * decay))
    return min(1.0, (step + 1) / rising, (steps - step) / falling)
