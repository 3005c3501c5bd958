"""Between rows and values (pure): what an utterance is as a row, and what a row is to the other rooms."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from memory import models
from memory.types import Checkpoint, Generation, GenerationKind, Message, Scene
from selves.cast import SceneSpec
from selves.lineage import AgeCard
from selves.speech import Form, Prompt, Sampling, Utterance

HUMAN_TEXT_KEPT = timedelta(days=30)
"""How long the words that people write on a platform are kept."""

HUMAN_ORIGINS = ("parlor", "discord")


def nonce(house_id: str, scene_id: int, sequence: int) -> str:
    """Return the nonce of a message: 25 characters, the same for the same place in the same database."""
    name = f"{house_id}:{scene_id}:{sequence}"
    return hashlib.sha256(name.encode()).hexdigest()[: models.NONCE_CHARACTERS]


def user_hash(secret: str, platform: str, user_id: int | str) -> str:
    """Return what stands for a platform's user id here; without `secret` nobody can test a guess."""
    return hmac.digest(bytes.fromhex(secret), f"{platform}:{user_id}".encode(), "sha256").hex()


class HumanPart(NamedTuple):
    """What a prompt holds of people's words."""

    present: bool
    expires_at: datetime | None
    """When the first of them must be gone."""
    gone: bool
    """Whether some were erased or changed while the model was answering: then the prompt is not kept."""


def human_part(utterance: Utterance, heard: Mapping[int, models.MessageRow]) -> HumanPart:
    """Return what of people's words is in an utterance's prompt; `heard` has people's messages by id.

    A prompt that has human words from messages that nobody names is kept as long as the shortest-lived ones.
    """
    prompt = utterance.prompt
    inside = [heard[message_id] for message_id in prompt.message_ids if message_id in heard]
    if not inside:
        expires_at = utterance.started_at + HUMAN_TEXT_KEPT if prompt.has_human else None
        return HumanPart(prompt.has_human, expires_at, False)
    return HumanPart(
        True,
        min((m.expires_at for m in inside if m.expires_at is not None), default=None),
        any(m.status != "posted" or (m.edited_at and m.edited_at >= utterance.started_at) for m in inside),
    )


def generation_row(
    utterance: Utterance,
    kind: GenerationKind,
    human: HumanPart,
    *,
    scene_id: int | None = None,
    turn: int | None = None,
    speaker: str | None = None,
    chosen: bool = False,
) -> models.GenerationRow:
    """Return the row of one sample."""
    prompt = utterance.prompt
    return models.GenerationRow(
        kind=kind,
        address=utterance.address,
        weights_sha256=utterance.weights_sha256,
        engine=utterance.engine,
        engine_version=utterance.engine_version,
        form=prompt.form,
        prompt=None if human.gone else _prompt_text(prompt),
        prompt_sha256=prompt.sha256,
        prompt_message_ids=list(prompt.message_ids),
        prompt_has_human=human.present,
        prompt_expires_at=human.expires_at,
        sampling=utterance.sampling.model_dump(mode="json"),
        seed=utterance.sampling.seed,
        text=utterance.text,
        token_ids=list(utterance.token_ids),
        finish_reason=utterance.finish_reason,
        mean_logprob=utterance.mean_logprob,
        error=utterance.error,
        started_at=utterance.started_at,
        duration_s=utterance.duration_s,
        scene_id=scene_id,
        turn=turn,
        speaker=speaker,
        chosen=chosen,
    )


def _prompt_text(prompt: Prompt) -> str:
    if prompt.form == "transcript":
        return prompt.text
    # lone surrogates stay as they are here; the column escapes them like any other text
    return json.dumps([m.model_dump() for m in prompt.messages], ensure_ascii=False)


def _prompt(row: models.GenerationRow) -> Prompt | None:
    if row.prompt is None:
        return None
    form = cast(Form, row.form)
    return Prompt(
        form=form,
        text=row.prompt if form == "transcript" else "",
        messages=() if form == "transcript" else json.loads(row.prompt),
        message_ids=tuple(row.prompt_message_ids),
        has_human=row.prompt_has_human,
    )


def to_generation(row: models.GenerationRow) -> Generation:
    return Generation(
        id=row.id,
        kind=cast(GenerationKind, row.kind),
        address=row.address,
        weights_sha256=row.weights_sha256,
        engine=row.engine,
        engine_version=row.engine_version,
        form=cast(Form, row.form),
        prompt=_prompt(row),
        prompt_sha256=row.prompt_sha256,
        prompt_message_ids=tuple(row.prompt_message_ids),
        prompt_has_human=row.prompt_has_human,
        sampling=Sampling.model_validate(row.sampling),
        text=row.text,
        token_ids=tuple(row.token_ids),
        finish_reason=row.finish_reason,
        mean_logprob=row.mean_logprob,
        error=row.error,
        started_at=row.started_at,
        duration_s=row.duration_s,
        scene_id=row.scene_id,
        turn=row.turn,
        speaker=row.speaker,
        chosen=row.chosen,
    )


def to_message(row: models.MessageRow) -> Message:
    return Message(
        id=row.id,
        scene_id=row.scene_id,
        sequence=row.sequence,
        speaker=row.speaker,
        address=row.address,
        origin=row.origin,  # type: ignore[arg-type]
        text=row.text,
        generation_id=row.generation_id,
        reply_to=row.reply_to,
        nonce=row.nonce,
        place=row.place,
        platform_id=row.platform_id,
        status=row.status,  # type: ignore[arg-type]
        created_at=row.created_at,
        posted_at=row.posted_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        expires_at=row.expires_at,
    )


def to_scene(row: models.SceneRow) -> Scene:
    return Scene(
        id=row.id,
        name=row.name,
        kind=row.kind,
        key=row.key,
        place=row.place,
        premise=row.premise,
        spec=SceneSpec.model_validate(row.spec),
        status=row.status,  # type: ignore[arg-type]
        stop_reason=row.stop_reason,
        messages=row.messages,
        turns=row.turns,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def to_checkpoint(row: models.CheckpointRow) -> Checkpoint:
    return Checkpoint(
        id=row.id,
        address=row.address,
        card=AgeCard.model_validate(row.card),
        registered_at=row.registered_at,
    )
