"""Between rows and values (pure): what an utterance is as a row, and what a row is to the other rooms."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from sqlalchemy import Row

from memory import models, sealing
from memory.quotes import Quotes
from memory.types import HUMAN_ORIGINS, Checkpoint, Generation, GenerationKind, Message, Scene
from selves.cast import SceneSpec
from selves.lineage import AgeCard
from selves.speech import Form, Prompt, Sampling, Utterance

HUMAN_TEXT_KEPT = timedelta(days=30)
"""How long the words that people write on a platform are kept."""

EXPIRING_ORIGINS = ("discord", "interaction", "selfhosted")
"""What people say on a platform goes after its time; what they type in the house's own parlor, and what the
operator imports, stays until it is taken back."""

Keys = Mapping[int, str]
"""Keys of people, by person id."""


def words_end(origin: str, said_at: datetime, store: bool | None) -> datetime | None:
    """Return when a person's words must be gone; `store` is what the person last said of keeping them."""
    kept_by_default = origin not in EXPIRING_ORIGINS
    return None if (kept_by_default if store is None else store) else said_at + HUMAN_TEXT_KEPT


def nonce(house_id: str, scene_id: int, sequence: int) -> str:
    """Return the nonce of a message: 25 characters, the same for the same place in the same database."""
    name = f"{house_id}:{scene_id}:{sequence}"
    return hashlib.sha256(name.encode()).hexdigest()[: models.NONCE_CHARACTERS]


def user_hash(secret: str, platform: str, user_id: int | str) -> str:
    """Return what stands for a platform's user id here; without `secret` nobody can test a guess."""
    return hmac.digest(bytes.fromhex(secret), f"{platform}:{user_id}".encode(), "sha256").hex()


def hidden_id(secret: str, platform_id: int) -> int:
    """Return what stands for the platform id of a forgotten person's message: below 0, the same every time.

    So hearing that message once more is noticed, and nobody can look it up on the platform.
    """
    digest = hmac.digest(bytes.fromhex(secret), f"message:{platform_id}".encode(), "sha256")
    return -1 - (int.from_bytes(digest[:8], "big") >> 1)


class HumanPart(NamedTuple):
    """What a prompt holds of other people's words."""

    present: bool
    expires_at: datetime | None = None
    """When the first of them must be gone."""
    gone: bool = False
    """Whether some were erased or changed while the model was answering: then the prompt is not kept."""
    origins: tuple[str, ...] | None = ()
    """Where the words in it come from that no self said; None when nobody named the messages."""
    message_ids: tuple[int, ...] = ()
    """People's messages that are in it."""
    people: tuple[int, ...] = ()
    """Who said them."""
    forgotten: bool = False
    """Whether somebody who said them, or is quoted in it, was forgotten while the model was answering."""


def human_part(utterance: Utterance, said: Mapping[int, Row[Any]]) -> HumanPart:
    """Return what of people's words is in an utterance's prompt.

    `said` has what no self said, and what selves said that quoted somebody who was forgotten, by message id.
    A prompt that has human words from messages that nobody names is kept as long as the shortest-lived ones.
    """
    prompt = utterance.prompt
    read = [said[message_id] for message_id in dict.fromkeys(prompt.message_ids) if message_id in said]
    inside = [m for m in read if m.origin in HUMAN_ORIGINS]
    forgotten = any(m.status == "forgotten" for m in read)
    if not inside:
        if prompt.has_human:
            ends = utterance.started_at + HUMAN_TEXT_KEPT
            return HumanPart(True, ends, forgotten, origins=None, forgotten=forgotten)
        return HumanPart(False, gone=forgotten, origins=_origins(read), forgotten=forgotten)
    return HumanPart(
        True,
        min((m.expires_at for m in inside if m.expires_at is not None), default=None),
        forgotten
        or any(m.status != "posted" or (m.edited_at and m.edited_at >= utterance.started_at) for m in inside),
        _origins(read),
        tuple(m.id for m in inside),
        tuple(sorted({m.person_id for m in inside if m.person_id is not None})),
        forgotten,
    )


def without_quotations(utterance: Utterance) -> Utterance:
    """Return an utterance without its words if they quote its prompt, whose words are to be forgotten."""
    prompt = utterance.prompt
    read = [prompt.text, *(m.content for m in prompt.messages)]
    if not Quotes(read).are_in(utterance.text):
        return utterance
    return utterance.model_copy(update={"text": "", "token_ids": ()})


def _origins(read: Sequence[Row[Any]]) -> tuple[str, ...]:
    return tuple(sorted({m.origin for m in read} - {"self"}))


def generation_row(
    utterance: Utterance,
    kind: GenerationKind,
    human: HumanPart,
    keys: Keys,
    *,
    scene_id: int | None = None,
    turn: int | None = None,
    speaker: str | None = None,
    chosen: bool = False,
) -> models.GenerationRow:
    """Return the row of one sample; `keys` are those of the people whose words its prompt holds."""
    values = generation_values(
        utterance, kind, human, keys, scene_id=scene_id, turn=turn, speaker=speaker, chosen=chosen
    )
    return models.GenerationRow(**values)


def generation_values(
    utterance: Utterance,
    kind: GenerationKind,
    human: HumanPart,
    keys: Keys,
    *,
    scene_id: int | None,
    turn: int | None,
    speaker: str | None,
    chosen: bool,
) -> dict[str, Any]:
    """Return the values of that row by column."""
    prompt = utterance.prompt
    kept = not human.gone and all(person in keys for person in human.people)
    sealed = kept and bool(human.people)
    text = _prompt_text(prompt) if kept else None
    if text is not None and sealed:
        text = sealing.seal(text, [keys[person] for person in human.people])
    return {
        "kind": kind,
        "address": utterance.address,
        "weights_sha256": utterance.weights_sha256,
        "engine": utterance.engine,
        "engine_version": utterance.engine_version,
        "form": prompt.form,
        "prompt": text,
        "prompt_sha256": prompt.sha256,
        "prompt_message_ids": list(prompt.message_ids),
        "prompt_has_human": human.present,
        "prompt_expires_at": human.expires_at,
        "prompt_origins": None if human.origins is None else list(human.origins),
        "prompt_sealed_by": list(human.people) if sealed else None,
        "sampling": utterance.sampling.model_dump(mode="json"),
        "seed": utterance.sampling.seed,
        "text": utterance.text,
        "token_ids": list(utterance.token_ids),
        "finish_reason": utterance.finish_reason,
        "mean_logprob": utterance.mean_logprob,
        "error": utterance.error,
        "started_at": utterance.started_at,
        "duration_s": utterance.duration_s,
        "scene_id": scene_id,
        "turn": turn,
        "speaker": speaker,
        "chosen": chosen,
    }


def _prompt_text(prompt: Prompt) -> str:
    if prompt.form == "transcript":
        return prompt.text
    # lone surrogates stay as they are here; the column escapes them like any other text
    return json.dumps([m.model_dump() for m in prompt.messages], ensure_ascii=False)


def to_prompt(row: models.GenerationRow, keys: Keys) -> Prompt | None:
    """Return a sample's prompt; None if it is gone, or cannot be opened."""
    text = row.prompt
    if text is not None and row.prompt_sealed_by is not None:
        text = opened(text, row.prompt_sealed_by, keys)
    if text is None:
        return None
    form = cast(Form, row.form)
    return Prompt(
        form=form,
        text=text if form == "transcript" else "",
        messages=() if form == "transcript" else json.loads(text),
        message_ids=tuple(row.prompt_message_ids),
        has_human=row.prompt_has_human,
    )


def opened(sealed: str, people: Sequence[int], keys: Keys) -> str | None:
    """Return what is sealed, or None when a key is gone or does not fit."""
    try:
        return sealing.unseal(sealed, [keys[person] for person in people])
    except (KeyError, ValueError):
        return None


def to_generation(row: models.GenerationRow, keys: Keys) -> Generation:
    return Generation(
        id=row.id,
        kind=row.kind,
        address=row.address,
        weights_sha256=row.weights_sha256,
        engine=row.engine,
        engine_version=row.engine_version,
        form=cast(Form, row.form),
        prompt=to_prompt(row, keys),
        prompt_sha256=row.prompt_sha256,
        prompt_message_ids=tuple(row.prompt_message_ids),
        prompt_has_human=row.prompt_has_human,
        prompt_origins=None if row.prompt_origins is None else tuple(row.prompt_origins),
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


def to_message(row: models.MessageRow | Row[Any], keys: Keys) -> Message:
    text: str | None = row.text
    if row.person_id is not None and row.text:
        text = opened(row.text, [row.person_id], keys)
    return Message(
        id=row.id,
        scene_id=row.scene_id,
        sequence=row.sequence,
        speaker=row.speaker,
        address=row.address,
        person_id=row.person_id,
        origin=row.origin,  # type: ignore[arg-type]
        text=text or "",
        shut=text is None,
        generation_id=row.generation_id,
        reply_to=row.reply_to,
        nonce=row.nonce,
        place=row.place,
        # what a forgotten person's message had is hidden
        platform_id=row.platform_id if row.platform_id is None or row.platform_id >= 0 else None,
        thread_id=row.thread_id,
        status=row.status,  # type: ignore[arg-type]
        created_at=row.created_at,
        posted_at=row.posted_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        expires_at=row.expires_at,
    )


def to_scene(row: models.SceneRow | Row[Any]) -> Scene:
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
        from_message_id=row.from_message_id,
    )


def to_checkpoint(row: models.CheckpointRow) -> Checkpoint:
    return Checkpoint(
        id=row.id,
        address=row.address,
        card=AgeCard.model_validate(row.card),
        registered_at=row.registered_at,
    )
