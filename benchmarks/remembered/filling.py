"""Generated lines -> rows of a store, a thousand lines in a transaction, and how long that took.

Every line of a self has its generation with the prompt that an engine would have had: the last lines before
it. Where people speak, prompts are sealed and noted as holding their words, as the store itself does it.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import insert, text, update

from benchmarks.remembered.lines import PEOPLE, SELVES, Line, scenes
from memory import rows, sealing
from memory.models import (
    Base,
    CheckpointRow,
    ConsentRow,
    FeedbackRow,
    GenerationRow,
    HeardInRow,
    HouseRow,
    MessageRow,
    PersonKeyRow,
    PersonRow,
    SceneRow,
)
from memory.store import Store
from selves.cast import SceneSpec
from selves.lineage import Address, AgeCard
from selves.speech import Prompt, Sampling

BATCH = 1000
WINDOW = 12
"""Lines in a prompt."""
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_APART = 20
PLATFORM = "discord"
SAMPLING = Sampling(max_tokens=80, stop=("\n",))
ENGINE = ("embedded", "0.1.0")
ORDER = (
    CheckpointRow,
    PersonRow,
    PersonKeyRow,
    ConsentRow,
    SceneRow,
    GenerationRow,
    MessageRow,
    HeardInRow,
    FeedbackRow,
)
"""Of inserting: what is pointed at comes first."""

Rows = dict[type[Base], list[dict[str, Any]]]


class Filled(NamedTuple):
    """What filling took; the time of making up lines and prompts is not in it."""

    lines: int
    rows: int
    seconds: float


def address(self_number: int) -> str:
    return f"{SELVES[self_number].lower()}@base-{400 * (self_number + 1):06d}"


def weights(self_number: int) -> str:
    return hashlib.sha256(address(self_number).encode()).hexdigest()


class Filler:
    """Turns lines into rows; it counts ids up by itself, so the database must be empty."""

    def __init__(self, house: HouseRow) -> None:
        self.secret, self.house_id = house.secret, house.house_id
        self.generation = 0
        self.keys = [sealing.new_key() for _ in range(PEOPLE)]
        self.source = random.Random(1)

    def first_rows(self) -> Rows:
        """Return the ages and the people; all of these let their words be stored."""
        made: Rows = {model: [] for model in ORDER}
        for number in range(len(SELVES)):
            named = Address.parse(address(number))
            card = AgeCard(
                address=address(number),
                created_at=BEGAN,
                form="transcript",
                architecture="Qwen3ForCausalLM",
                parameters=1_000_000,
                context_tokens=512,
                weights_sha256=weights(number),
            )
            made[CheckpointRow].append(
                {
                    "address": card.address,
                    "lineage": named.lineage,
                    "age": named.age,
                    "stage": named.stage,
                    "step": named.step,
                    "weights_sha256": card.weights_sha256,
                    "card": card.model_dump(mode="json"),
                    "created_at": BEGAN,
                    "registered_at": BEGAN,
                }
            )
        for person, key in enumerate(self.keys):
            made[PersonRow].append(
                {
                    "id": person + 1,
                    "platform": PLATFORM,
                    "user_hash": rows.user_hash(self.secret, PLATFORM, person),
                    "pseudonym": f"guest-{person + 1}",
                    "created_at": BEGAN,
                }
            )
            made[PersonKeyRow].append({"person_id": person + 1, "key": key})
            made[ConsentRow].append(
                {
                    "person_id": person + 1,
                    "purpose": "store",
                    "granted": True,
                    "notice": "1",
                    "via": "benchmark",
                    "at": BEGAN,
                }
            )
        return made

    def scene_row(self, lines: Sequence[Line]) -> dict[str, Any]:
        scene, public = lines[0].scene, lines[0].public
        spec = SceneSpec(name=f"scene-{scene % 100}", cast=SELVES, premise="They meet.")
        return {
            "id": scene,
            "name": spec.name,
            "kind": spec.kind,
            "place": f"discord:{scene}" if public else "terminal",
            "premise": spec.premise,
            "spec": spec.model_dump(mode="json"),
            "status": "ended",
            "stop_reason": "max_turns",
            "messages": len(lines),
            "turns": sum(line.person is None for line in lines),
            "started_at": BEGAN + timedelta(seconds=SECONDS_APART * lines[0].number),
            "ended_at": BEGAN + timedelta(seconds=SECONDS_APART * lines[-1].number),
        }

    def line_rows(self, before: Sequence[Line], line: Line, made: Rows) -> None:
        """Add the rows of one line, which comes after the lines `before` in its scene."""
        at = BEGAN + timedelta(seconds=SECONDS_APART * line.number)
        message = {
            "id": line.number,
            "scene_id": line.scene,
            "sequence": line.sequence,
            "speaker": line.speaker,
            "origin": "self",
            "text": line.text,
            "nonce": rows.nonce(self.house_id, line.scene, line.sequence),
            "place": f"discord:{line.scene}" if line.public else "terminal",
            "platform_id": (line.number << 22) if line.public else None,
            "status": "posted",
            "created_at": at,
            "posted_at": at,
            "person_id": None,
            "address": None,
            "generation_id": None,
        }
        made[MessageRow].append(message)
        if line.person is not None:
            message |= {
                "speaker": f"guest-{line.person + 1}",
                "person_id": line.person + 1,
                "origin": PLATFORM,
                "text": sealing.seal(line.text, [self.keys[line.person]]),
            }
            return
        number = SELVES.index(line.speaker)
        turn = self._generation(before, line, number, at)
        message |= {"address": turn["address"], "generation_id": turn["id"]}
        made[GenerationRow].append(turn)
        heard = [other.number for other in before if other.person is not None]
        made[HeardInRow] += [{"message_id": one, "generation_id": turn["id"]} for one in heard]
        if line.sibling is not None:
            self.generation += 1
            sibling = turn | {"id": self.generation, "text": line.sibling, "chosen": False}
            made[GenerationRow].append(sibling)
            made[HeardInRow] += [{"message_id": one, "generation_id": sibling["id"]} for one in heard]
            made[FeedbackRow].append(
                {
                    "kind": "vote",
                    "key": f"benchmark:{line.number}",
                    "generation_id": turn["id"],
                    "other_id": sibling["id"],
                    "value": self.source.choice(("first", "second")),
                    "shown_first": turn["id"],
                    "blind": True,
                    "via": "web",
                    "at": at,
                }
            )

    def _generation(self, before: Sequence[Line], line: Line, number: int, at: datetime) -> dict[str, Any]:
        self.generation += 1
        prompt = "".join(f"<{other.speaker}> {other.text}\n" for other in before) + f"<{line.speaker}>"
        people = sorted({other.person for other in before if other.person is not None})
        return {
            "id": self.generation,
            "kind": "turn",
            "address": address(number),
            "weights_sha256": weights(number),
            "engine": ENGINE[0],
            "engine_version": ENGINE[1],
            "form": "transcript",
            "prompt": sealing.seal(prompt, [self.keys[person] for person in people]) if people else prompt,
            "prompt_sha256": Prompt(form="transcript", text=prompt).sha256,
            "prompt_message_ids": [other.number for other in before],
            "prompt_has_human": bool(people),
            "prompt_origins": [PLATFORM] if people else [],
            "prompt_sealed_by": [person + 1 for person in people] or None,
            "sampling": SAMPLING.model_dump(mode="json"),
            "seed": line.number,
            "text": line.text,
            "token_ids": [self.source.randrange(2048) for _ in range(len(line.text) // 4)],
            "finish_reason": "stop",
            "mean_logprob": -2.5,
            "started_at": at,
            "duration_s": 0.5,
            "scene_id": line.scene,
            "turn": line.sequence,
            "speaker": line.speaker,
            "chosen": True,
        }

    def batches(self, count: int, seed: int = 0) -> Iterator[Rows]:
        """Yield the rows of `count` lines, BATCH lines at a time."""
        made = self.first_rows()
        for lines in scenes(count, seed):
            made[SceneRow].append(self.scene_row(lines))
            for place, line in enumerate(lines):
                self.line_rows(lines[max(0, place - WINDOW) : place], line, made)
                if len(made[MessageRow]) == BATCH:
                    yield made
                    made = {model: [] for model in ORDER}
        yield made


async def fill(store: Store, batches: Iterator[Rows], most_batches: int | None = None) -> Filled:
    """Insert batches, one transaction each; all of them, or so many of the next ones."""
    lines = total = 0
    seconds = 0.0
    for made in islice(batches, most_batches):
        begun = time.perf_counter()
        async with store.writing() as session:
            for model in ORDER:
                if made[model]:
                    table: Any = model.__table__
                    await session.execute(insert(table), made[model])
        seconds += time.perf_counter() - begun
        lines += len(made[MessageRow])
        total += sum(map(len, made.values()))
    return Filled(lines, total, seconds)


async def settle(store: Store) -> None:
    """After rows with ids of our own: let new ones count on from there; tell PostgreSQL what there is."""
    async with store.writing() as session:
        await session.execute(update(HouseRow).values(guests=PEOPLE))
        if store.engine.dialect.name == "postgresql":
            for model in ORDER:
                if "id" in model.__table__.columns:
                    name = model.__tablename__
                    await session.execute(
                        text(
                            f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), "
                            f"(SELECT coalesce(max(id), 1) FROM {name}))"
                        )
                    )
            await session.execute(text("ANALYZE"))
