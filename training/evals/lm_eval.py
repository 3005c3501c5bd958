"""Hand an age to EleutherAI's lm-evaluation-harness, for the tasks that everyone's models are compared by.

The harness is not part of the house: it runs as a program of its own, on the age's folder as it stands.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from selves.errors import AgeError, UsageError
from selves.lineage import Age

PACKAGE = "lm_eval"


def lm_eval_command(age: Age, tasks: str, more: Sequence[str] = ()) -> list[str]:
    """Return the harness's command line for one age. Raises AgeError for what transformers cannot load.

    Chat ages are asked through their chat template. The folder is named by its whole path; the harness
    separates its model arguments by commas, so a path with one raises UsageError.
    """
    folder = str(age.folder.absolute())
    if "," in folder:
        raise UsageError(f"lm_eval cannot read a folder with a comma in its name: {folder}", "rename it")
    config = json.loads((age.folder / "config.json").read_text("utf-8"))
    if config.get("model_type") == "selves_nanochat":
        raise AgeError(
            f"{age.card.address} is a nanochat model, which transformers alone cannot load", "choose another"
        )
    command = [sys.executable, "-m", PACKAGE, "--model", "hf"]
    command += ["--model_args", f"pretrained={folder}", "--tasks", tasks]
    if age.card.form == "chat":
        command.append("--apply_chat_template")
    return [*command, *more]


def run_lm_eval(age: Age, tasks: str, more: Sequence[str] = (), *, dry_run: bool = False) -> int:
    """Run the harness or print its command; return its exit code.

    Raises UsageError if the harness is not installed.
    """
    command = lm_eval_command(age, tasks, more)
    if dry_run:
        print(shlex.join(command))
        return 0
    if find_spec(PACKAGE) is None:
        raise UsageError(
            "EleutherAI's lm-evaluation-harness is not installed here",
            f'pip install "lm_eval[hf]", or run elsewhere: {shlex.join(["lm_eval", *command[3:]])}',
        )
    print(shlex.join(command), file=sys.stderr)
    return subprocess.run(command, check=False).returncode
