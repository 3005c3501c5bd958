"""transformers' `generate` as a program: asks as JSON lines from stdin, answers as JSON lines to stdout.

Asks of one age go through it as one static batch; several ages go one after another, each with its own batch.
All of it in float32. It also gives the reference with which every system's tokens are compared.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from benchmarks.served.work import NO_END


class FirstToken(BaseStreamer):
    """Notes when the first new token was there."""

    def __init__(self) -> None:
        self.puts = 0
        self.at = 0.0

    def put(self, _value: Any) -> None:
        self.puts += 1
        if self.puts == 2:  # the first put is the prompt
            self.at = time.time()

    def end(self) -> None:
        pass


@cache
def load(folder: str) -> Any:
    """Return the model in a folder, which is kept."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32", local_files_only=True).eval()


@torch.inference_mode()
def generate(folder: str, prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], float]:
    """Return the tokens that follow prompts of equal length, greedily, and when the first was there."""
    ids = torch.tensor(prompts)
    clock = FirstToken()
    out = load(folder).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=NO_END,
        pad_token_id=0,
        streamer=clock,
    )
    return out[:, ids.shape[1] :].tolist(), clock.at


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Return the answers to a job, in the order of its asks."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # it warns of NO_END each time
    torch.set_num_threads(job["threads"])
    batches: dict[str, list[int]] = {}
    for number, (folder, _) in enumerate(job["asks"]):
        batches.setdefault(folder, []).append(number)
    begun = time.time()
    answers: list[dict[str, Any]] = [{} for _ in job["asks"]]
    for folder, numbers in batches.items():
        drawn, first_at = generate(folder, [job["asks"][n][1] for n in numbers], job["new_tokens"])
        end_s = time.time() - begun
        for number, ids in zip(numbers, drawn, strict=True):
            answers[number] = {"first_s": first_at - begun, "end_s": end_s, "ids": ids}
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return {"answers": answers, "version": version}


def main() -> None:
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
