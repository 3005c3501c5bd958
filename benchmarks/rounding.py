"""What it costs an age to be rounded: bits per byte of a text, in each type that the embedded engine keeps.

    python -m benchmarks.rounding ember@base-000400 --text held-out.txt
    python -m benchmarks.rounding smol@import-000000 wick@chat-000600 --text held-out.txt --bytes 50000 --json

The text is read in windows as long as the age reads at most, half of each as context. It should be one that
the age has not learned from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from selves.cast import Dtype
from selves.cli import make_parser, run_command
from selves.errors import UsageError
from selves.lineage import Age, find_age
from selves.settings import House

EXAMPLES = """
python -m benchmarks.rounding ember@base-000400 --text held-out.txt
"""


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        text = options.text.read_bytes()[: options.bytes].decode("utf-8", "ignore")
    except OSError as error:
        raise UsageError(
            f"{options.text} cannot be read: {error.strerror}", "name a text with --text"
        ) from error
    if not text.strip():
        raise UsageError(f"{options.text} is empty", "name a text with --text")
    house = House.from_environment()
    kinds = [kind for kind in get_args(Dtype) if kind != "auto"]
    found = {
        address: {kind: bits_per_byte(find_age(house.checkpoints, address), text, kind) for kind in kinds}
        for address in options.address
    }
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"| bits per byte of {len(text.encode())} bytes | {' | '.join(kinds)} |")
    print(f"|{' --- |' * (len(kinds) + 1)}")
    for address, values in found.items():
        own = values["float32"]
        cells = (f"{value:.4f} ({100 * (value / own - 1):+.2f} %)" for value in values.values())
        print(f"| {address} | {' | '.join(cells)} |")
    return 0


def bits_per_byte(age: Age, text: str, kind: Dtype) -> float:
    """Return the bits that an age needs for each byte of a text, its weights kept in this type."""
    import torch

    from serving.embedded import LoadedAge, encode

    loaded = LoadedAge(age, kind)
    ids = encode(loaded.tokenizer, text, {}, special_tokens=False)
    window = age.card.context_tokens
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, max(1, len(ids) - 1), window // 2):
            part = ids[start : start + window]
            logits = loaded.read(part, loaded.new_memory(), every=True)
            own = logits[:-1].log_softmax(-1).gather(1, torch.tensor(part[1:])[:, None])[:, 0]
            # the first half is context, and was counted with the window before
            nats -= float(own[0 if start == 0 else window // 2 - 1 :].sum())
            if start + window >= len(ids):
                break
    first = len(loaded.tokenizer.decode(ids[:1]).encode())
    return nats / math.log(2) / (len(text.encode()) - first)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "python -m benchmarks.rounding", "Measure what rounding an age's weights costs it.", EXAMPLES
    )
    parser.add_argument("address", nargs="+", help="an age of this house")
    parser.add_argument("--text", type=Path, required=True, help="a text that it has not learned from")
    parser.add_argument("--bytes", type=int, default=20_000, help="how much of it (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
