"""Curves where people like to look at them: TensorBoard and Trackio, as callbacks that a recipe names.

    callbacks = ["training.loggers:TensorBoard"]       then: tensorboard --logdir home/checkpoints
    callbacks = ["training.loggers:Trackio"]           then: trackio show

Both show what metrics.jsonl holds, and each age's words beside its step. `pip install "selves[watch]"` brings
them; without that they are named with what is missing. A run that goes on writes on where it was.
"""

from __future__ import annotations

from typing import Any

from selves.errors import UsageError
from training.events import TENSORBOARD_FOLDER, Moment


class TensorBoard:
    """Writes event files into the lineage's folder, `tensorboard/STAGE`."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard") from error
        self._open = SummaryWriter
        self._writer: Any = None

    def __call__(self, moment: Moment) -> None:
        if moment.kind == "begin":
            folder = moment.folder / TENSORBOARD_FOLDER / moment.stage
            self._writer = self._open(str(folder), purge_step=moment.step or None)
        elif moment.kind == "log":
            for name, value in curves(moment).items():
                self._writer.add_scalar(name, value, moment.step)
        elif moment.kind == "age":
            self._writer.add_text("words", words(moment), moment.step)
            self._writer.flush()
        elif moment.kind == "end":
            self._writer.close()


class Trackio:
    """Logs to a Trackio project that is called as the lineage, one run per stage."""

    def __init__(self) -> None:
        try:
            import trackio
        except ImportError as error:
            raise _missing("trackio") from error
        self._trackio = trackio
        self._run: Any = None

    def __call__(self, moment: Moment) -> None:
        if moment.kind == "begin":
            self._run = self._trackio.init(
                project=moment.lineage,
                name=moment.stage,
                config=moment.recipe,
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        elif moment.kind == "log":
            self._run.log(curves(moment), step=moment.step)
        elif moment.kind == "age":
            self._run.log({"words": self._trackio.Markdown(words(moment))}, step=moment.step)
        elif moment.kind == "end":
            self._run.finish()


def curves(moment: Moment) -> dict[str, float]:
    """Return what is drawn of a moment: name -> value."""
    values = {
        "loss": moment.smooth_loss,
        "bits_per_byte": moment.bits_per_byte,
        "tokens_per_s": moment.tokens_per_s,
        "mfu": moment.mfu,
        "tokens": moment.tokens,
    }
    return {name: value for name, value in values.items() if value is not None}


def words(moment: Moment) -> str:
    """Return what an age wrote, as Markdown in which nothing of it is markup."""
    lines = [f"**{moment.address}**"]
    for writing in moment.writings:
        said = f"{writing.utterance.prompt.text}{writing.utterance.text}"
        lines.append(f"{writing.kind}:\n\n" + "\n".join(f"    {line}" for line in said.splitlines()))
    return "\n\n".join(lines)


def _missing(package: str) -> UsageError:
    return UsageError(
        f"the callback needs {package}, which is not installed",
        'pip install "selves[watch]", or take it out of `callbacks` in the recipe',
    )
