"""llama-cpp-python as a program, in an environment of its own: JSON lines in, JSON lines out, as generate.py.

One sequence after another: the package's own calls hold one sequence at a time. It needs nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

llama_cpp: Any = import_module("llama_cpp")  # not in our environment, where types are checked
CONTEXT = 1024


def load(path: str, threads: int) -> Any:
    return llama_cpp.Llama(
        model_path=path, n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
    )


def draw(model: Any, prompt: list[int], new_tokens: int) -> tuple[list[int], float]:
    """Return the tokens that follow a prompt, greedily and past any end, and when the first was there."""
    model.reset()
    ids: list[int] = []
    first_at = 0.0
    for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
        first_at = first_at or time.time()
        ids.append(token)
        if len(ids) == new_tokens:
            break
    return ids, first_at


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints goes to stderr
    models: dict[str, Any] = {}
    for line in sys.stdin:
        job = json.loads(line)
        begun = time.time()
        answers = []
        for path, prompt in job["asks"]:
            if path not in models:
                models[path] = load(path, job["threads"])
            ids, first_at = draw(models[path], prompt, job["new_tokens"])
            answers.append({"first_s": first_at - begun, "end_s": time.time() - begun, "ids": ids})
        version = f"llama-cpp-python {llama_cpp.__version__}"
        print(json.dumps({"answers": answers, "version": version}), file=out, flush=True)


if __name__ == "__main__":
    main()
