"""Sums of two numbers, whose answers anybody can check: `function = "training.datasets.sums:rows"`.

Each row has what every method needs: a prompt, the right answer as a completion and as the column `answer`,
and a wrong answer to prefer it to. The same two numbers in either order are one group, so that no sum is held
out whose mirror is learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

LARGEST = 9


def rows(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield every sum of two digits once, in an order drawn from `seed`."""
    source = random.Random(seed)
    pairs = [(a, b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    source.shuffle(pairs)
    for a, b in pairs:
        yield {
            "prompt": f"What is {a} + {b}?",
            "completion": f"{a + b}",
            "answer": f"{a + b}",
            "chosen": f"{a + b}",
            "rejected": f"{a + b + source.choice((-2, -1, 1, 2))}",
            "group": f"{min(a, b)} + {max(a, b)}",
        }
