"""Lineages and ages: their addresses, their folders, and the card each age carries.

    home/checkpoints/ember/                one lineage
        metrics.jsonl                      one line per logged training step
        diary.jsonl                        what its ages wrote after they were kept (Writing)
        base-000000/                       one age: a Hugging Face folder, plus
            age.json                       its card (AgeCard)
            diary.jsonl                    what it wrote when it was kept (Writing)

A folder that is listed here is complete: ages are written elsewhere and renamed into place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from selves.config import reasons
from selves.errors import AgeError, UsageError
from selves.files import alone, sha256_file, write_file
from selves.speech import Form, Frozen, Writing

LINEAGE_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
AGE_PATTERN = r"[a-z][a-z0-9]{0,30}-\d{6,12}"
ADDRESS_PATTERN = f"{LINEAGE_PATTERN}@{AGE_PATTERN}"
CARD_FILE = "age.json"
DIARY_FILE = "diary.jsonl"
WEIGHTS_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
"""Of an age that is a LoRA adapter, in PEFT's format: what it adds to another age, its base."""
ADAPTER_CONFIG_FILE = "adapter_config.json"
METRICS_FILE = "metrics.jsonl"
AWAY_FOLDER = ".away"
"""In a lineage's folder: of ages that are on the Hub and not here, all but the weights."""
_ADDRESS = re.compile(rf"(?P<lineage>{LINEAGE_PATTERN})@(?P<age>{AGE_PATTERN})")


class Address(NamedTuple):
    """`lineage@age`, the same string in config, engine, database, Hub and book; never "latest"."""

    lineage: str
    age: str

    @property
    def stage(self) -> str:
        return self.age.rpartition("-")[0]

    @property
    def step(self) -> int:
        return int(self.age.rpartition("-")[2])

    def __str__(self) -> str:
        return f"{self.lineage}@{self.age}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `ember@base-000400`. Raises UsageError for anything else."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} is not an address",
                "an address is lineage@stage-step, like ember@base-000400; `selves ages list` shows them all",
            )
        return cls(match["lineage"], match["age"])


def age_name(stage: str, step: int) -> str:
    """Return `base-000400` for stage `base`, step 400."""
    return f"{stage}-{step:06d}"


class AgeCard(Frozen):
    """`age.json`: where an age comes from, and the hashes that prove it is whole."""

    address: str
    parent: str | None = None
    """The age it was trained on from; None at birth and for imported models."""
    adapter_of: str | None = None
    """For a LoRA adapter: the address of the full age it goes on, without which it cannot speak."""
    others: tuple[str, ...] = ()
    """Who else had a part in it: ages that it was merged with, taught by, drawn toward, or rewarded by."""
    origin: Literal["trained", "imported"] = "trained"
    created_at: datetime
    form: Form
    """How it wants to be spoken to."""
    architecture: str
    """The transformers class that loads it, such as Qwen3ForCausalLM."""
    parameters: int
    context_tokens: int
    tokens_seen: int = 0
    """Training tokens so far, over all stages."""
    train_loss: float | None = None
    """Nats per token, smoothed."""
    bits_per_byte: float | None = None
    """On held-out text: tokenizer-free, lower is better."""
    license: str = ""
    age_restricted: bool = False
    """Whether it speaks only where a channel is marked as age-restricted, whatever a cast says of it.
    What is trained from it is so too."""
    sources: tuple[dict[str, Any], ...] = ()
    """What it read: the recipe's [[corpus]] tables, data sets with the commit that was read."""
    source: str = ""
    """For imported models: where the weights came from."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str
    """sha256 of model.safetensors; of an adapter, of adapter_model.safetensors."""
    files: dict[str, str] = Field(default_factory=dict)
    """Name -> sha256 of every other file in the folder."""


class Age(NamedTuple):
    """One age on disk."""

    card: AgeCard
    folder: Path

    @property
    def address(self) -> Address:
        return Address.parse(self.card.address)

    @property
    def weights_file(self) -> str:
        return WEIGHTS_FILE if self.card.adapter_of is None else ADAPTER_FILE

    @property
    def lineage_folder(self) -> Path:
        """Where what is common to the lineage lies."""
        parent = self.folder.parent
        return parent.parent if parent.name == AWAY_FOLDER else parent

    def base(self) -> Age | None:
        """Return the full age that an adapter goes on, None for a full age. Raises AgeError without it."""
        of = self.card.adapter_of
        if of is None:
            return None
        address = Address.parse(of)
        folder = self.folder.parents[1] / address.lineage / address.age
        if not (folder / CARD_FILE).exists():
            raise AgeError(
                f"{self.card.address} is an adapter on {of}, which is not here",
                f"bring {of} back, or let {self.card.address} go with `selves ages prune`",
            )
        base = read_age(folder)
        if base.card.adapter_of is not None:
            raise AgeError(f"{self.card.address} is an adapter on {of}, which is an adapter itself")
        return base

    def writings(self) -> list[Writing]:
        """What the self wrote at this age, in order: when it was kept, then what it was asked for later.

        Raises AgeError if a file is damaged.
        """
        later = read_diary(self.lineage_folder / DIARY_FILE)
        key = (self.card.address, self.card.weights_sha256)
        return [
            *read_diary(self.folder / DIARY_FILE),
            *(w for w in later if (w.utterance.address, w.utterance.weights_sha256) == key),
        ]

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file of the age that holds one JSON object. Raises AgeError."""
        return read_json(self.folder / name, self.card.address, "train or import it again")

    def verify(self) -> None:
        """Compare every file with its recorded sha256. Raises AgeError naming the first that differs.

        An adapter's base must be there; its own files are compared when it is verified itself.
        """
        self.base()
        expected = {self.weights_file: self.card.weights_sha256, **self.card.files}
        for name, sha256 in expected.items():
            path = self.folder / name
            if not path.exists():
                raise AgeError(
                    f"{self.card.address} is incomplete: {path} is missing", "train or import it again"
                )
            if sha256_file(path) != sha256:
                raise AgeError(
                    f"{self.card.address} is damaged: {path} is not what was written", "restore it"
                )


def read_diary(path: Path) -> list[Writing]:
    """Return the writings in a file, in order; none if there is no file. Raises AgeError if it is damaged."""
    if not path.exists():
        return []
    try:
        # not splitlines: selves write all the other line separators there are
        lines = path.read_text("utf-8").split("\n")
        return [Writing.model_validate_json(line) for line in lines if line]
    except (ValidationError, UnicodeDecodeError) as error:
        raise AgeError(f"{path} is damaged: {_reason(error)}") from error


def add_to_diary(path: Path, writings: Sequence[Writing]) -> None:
    """Add writings to a file of them, whole or not at all. Raises AgeError if it is damaged, DiskError."""
    with alone(path.with_name(f".{path.name}.lock")):
        lines = [writing.model_dump_json() for writing in (*read_diary(path), *writings)]
        write_file(path, "".join(f"{line}\n" for line in lines))


def read_json(path: Path, of: str, fix: str) -> dict[str, Any]:
    """Read a file that holds one JSON object, a part of the model `of`. Raises AgeError, with this fix."""
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AgeError(f"{of} is incomplete: {path.name} cannot be read ({reason})", fix) from error
    if not isinstance(said, dict):
        raise AgeError(f"{of} is damaged: {path.name} is not a JSON object", fix)
    return said


def read_age(folder: Path) -> Age:
    """Read one age's card. Raises AgeError if there is none or it is not valid."""
    path = folder / CARD_FILE
    try:
        return Age(AgeCard.model_validate_json(path.read_text("utf-8")), folder)
    except FileNotFoundError as error:
        raise AgeError(f"{folder} is not an age: it has no {CARD_FILE}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise AgeError(
            f"{path} is damaged: {_reason(error)}", "delete the folder and train or import it again"
        ) from error


def came_of(
    cards: Iterable[Mapping[str, Any]], hashes: Set[str], known: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the addresses of ages that read a file with one of these sha256, or that came of one that did:
    trained on from it, put on it, or one of its `others` (pure).

    Cards are as they stand in age.json. Of the `known` addresses it is known that they did.
    """
    ages = list(cards)
    found = {*known, *(age["address"] for age in ages if not hashes.isdisjoint(texts_in(age.get("sources"))))}
    while (
        grown := {
            age["address"]
            for age in ages
            if not found.isdisjoint((age.get("parent"), age.get("adapter_of"), *age.get("others", ())))
        }
        - found
    ):
        found |= grown
    return tuple(dict.fromkeys(age["address"] for age in ages if age["address"] in found))


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in what JSON can hold (pure)."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts_in(item)
        case list() | tuple():
            for item in value:
                yield from texts_in(item)


def _reason(error: ValidationError | UnicodeDecodeError) -> str:
    return str(error) if isinstance(error, UnicodeDecodeError) else reasons(error)


def list_ages(checkpoints: Path, lineage: str | None = None, *, away: bool = False) -> list[Age]:
    """Return every complete age under `checkpoints`, by lineage, then in order of life.

    Order of life is order of making; two ages of one stage are ordered by step. With `away`, also those that
    are on the Hub and left all but their weights here: they can be read about, not spoken with.
    """
    ages = [read_age(folder) for folder in _age_folders(checkpoints, lineage)]
    if away:
        here = {age.card.address for age in ages}
        stubs = [read_age(folder) for folder in _age_folders(checkpoints, lineage, AWAY_FOLDER)]
        ages += [age for age in stubs if age.card.address not in here]
    born: dict[tuple[str, str], datetime] = {}
    for age in ages:
        key = (age.address.lineage, age.address.stage)
        born[key] = min(born.get(key, age.card.created_at), age.card.created_at)
    return sorted(
        ages,
        key=lambda age: (
            age.address.lineage,
            born[age.address.lineage, age.address.stage],
            age.address.stage,
            age.address.step,
        ),
    )


def _age_folders(checkpoints: Path, lineage: str | None, under: str = "") -> Iterator[Path]:
    if not checkpoints.is_dir():
        return
    for parent in sorted(checkpoints.iterdir()):
        if not (parent / under).is_dir() or (lineage is not None and parent.name != lineage):
            continue
        for folder in sorted((parent / under).iterdir()):
            if re.fullmatch(AGE_PATTERN, folder.name) and (folder / CARD_FILE).exists():
                yield folder


def find_age(checkpoints: Path, address: str) -> Age:
    """Return the age at an address. Raises UsageError for a bad address, AgeError for an unknown one."""
    parsed = Address.parse(address)
    folder = checkpoints / parsed.lineage / parsed.age
    if (folder / CARD_FILE).exists():
        return read_age(folder)
    if (checkpoints / parsed.lineage / AWAY_FOLDER / parsed.age / CARD_FILE).exists():
        raise AgeError(f"{address} is away on the Hub", f"bring it back first: selves ages fetch {address}")
    known = [age.card.address for age in list_ages(checkpoints)]
    near = [a for a in known if a.startswith(f"{parsed.lineage}@")]
    if parsed.stage == "import" and not near:
        fix = (
            f"bring it in first: `selves ages import {parsed.lineage}`, or a folder of your own: "
            f"`selves ages import FOLDER --as {address}`"
        )
    elif known:
        fix = f"known ages: {', '.join(near or known)}"
    else:
        fix = "train one first: `selves train run recipes/demo.toml`"
    raise AgeError(f"there is no age {address} in {checkpoints}", fix)
