"""The record of a training run, as it stands in `metrics.jsonl`: one line per logged step."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from selves.errors import AgeError
from selves.lineage import METRICS_FILE


class Metric(BaseModel):
    """One logged step. Other fields of the line are not needed here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str
    step: int
    loss: float | None = None
    """Nats per token, on training text."""
    bits_per_byte: float | None = None
    """On held-out text."""


def read_metrics(lineage_folder: Path) -> list[Metric]:
    """Return a lineage's record by stage and step, in the order they were reached; empty if there is none.

    A step that was logged again after an interruption counts once, as it was the last time; a last line that
    a killed run left unfinished is passed over. Raises AgeError naming the line that is damaged.
    """
    path = lineage_folder / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text("utf-8", errors="replace").split("\n")
    found: dict[tuple[str, int], Metric] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            metric = Metric.model_validate_json(line)
        except ValidationError as error:
            if number == len(lines):  # no line end yet: it was being written
                continue
            raise AgeError(
                f"{path}:{number} is damaged: {error.errors()[0]['msg']}", "delete that line"
            ) from error
        found[metric.stage, metric.step] = metric
    stages = list(dict.fromkeys(stage for stage, _ in found))
    return sorted(found.values(), key=lambda metric: (stages.index(metric.stage), metric.step))
