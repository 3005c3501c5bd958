"""What talking costs, in tokens: counted per address and in all, with caps where they are wanted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from selves.errors import EngineError


class Spent(NamedTuple):
    """Tokens that went through models."""

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Budget:
    """Counts tokens, and says before a request whether there are any left.

    A cap is on prompt and completion tokens together; None means no cap. `spent` is what was spent before:
    whoever wants a budget to outlive the process keeps `spent` and gives it back. The request that crosses a
    cap is still answered; the next is not.
    """

    def __init__(
        self,
        *,
        cap: int | None = None,
        cap_per_address: int | None = None,
        spent: Mapping[str, Spent] | None = None,
    ) -> None:
        self._cap = cap
        self._cap_per_address = cap_per_address
        self.spent: dict[str, Spent] = dict(spent or {})
        """Address -> tokens so far."""

    @property
    def total(self) -> Spent:
        return Spent(
            sum(spent.prompt for spent in self.spent.values()),
            sum(spent.completion for spent in self.spent.values()),
        )

    def add(self, address: str, prompt: int, completion: int) -> None:
        before = self.spent.get(address, Spent())
        self.spent[address] = Spent(before.prompt + prompt, before.completion + completion)

    def check(self, address: str) -> None:
        """Raise EngineError when a cap has been reached."""
        for whose, spent, cap in (
            (f"the budget of {address}", self.spent.get(address, Spent()), self._cap_per_address),
            ("the budget", self.total, self._cap),
        ):
            if cap is not None and spent.total >= cap:
                raise EngineError(
                    f"{whose} is spent: {spent.total} of {cap} tokens",
                    "raise the cap, or wait until the budget is renewed",
                )
