"""One question and what came of it so far: lives in a session, and outlives the script that draws it."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from app.background import Background, Watch
from app.chorus import Answered, Event, Finished, Kept, Piece, Question, Trouble, sing
from memory.types import Generation, Message
from selves.errors import SelvesError
from selves.settings import House
from selves.speech import Utterance

WAITING = "…"
SETTLE_S = 3.0
"""How long an answer that was stopped may take to be kept."""


@dataclass
class Answer:
    """What one age has said so far."""

    text: str = ""
    status: str = WAITING
    utterance: Utterance | None = None
    """None until it has ended."""
    kept: Kept | None = None
    """None until it is in the database."""


@dataclass
class Answers:
    """One question and its answers."""

    question: Question
    by_age: dict[str, Answer] = field(init=False)
    error: SelvesError | None = None
    scene_id: int | None = None
    running: bool = True
    events: queue.Queue[Event] = field(default_factory=queue.Queue)
    watch: Watch = field(default_factory=Watch)
    _work: Future[None] | None = None

    def __post_init__(self) -> None:
        self.by_age = {address: Answer() for address in self.question.addresses}

    def begin(self, background: Background, url: str, house: House) -> None:
        """Let all ages answer at once."""
        song = sing(url, house.api_key, house.database_url, self.question, self.events.put)
        self._work = background.start(self.watch.over(song))

    def stop(self) -> None:
        """End what is being said, and take what it had come to."""
        if self._work is not None:
            self._work.cancel()
        if self.running:
            self.take_for(SETTLE_S)
            self.running = False
        for answer in self.by_age.values():
            if answer.status == WAITING:
                answer.status = "stopped"

    def take_for(self, duration_s: float) -> None:
        """Take what comes within a time, or until nothing more comes."""
        self.watch.look()
        until = time.monotonic() + duration_s
        while self.running and (left := until - time.monotonic()) > 0:
            try:
                self.take(self.events.get(timeout=left))
            except queue.Empty:
                return

    def take(self, event: Event) -> None:
        """Note one thing that happened."""
        match event:
            case Piece(address, text):
                self.by_age[address].text = text
            case Answered(utterance):
                answer = self.by_age[utterance.address]
                answer.text, answer.utterance = utterance.text, utterance
                answer.status = utterance.error or length(utterance)
            case Trouble(None, error):
                self.error = error
            case Trouble(str() as address, error):
                self.by_age[address].status = f"{error.problem}. {error.fix}"
            case Finished(scene_id, kept):
                self.scene_id, self.running = scene_id, False
                for address, what in kept.items():
                    self.by_age[address].kept = what


def length(said: Utterance | Generation) -> str:
    """Return in words how long an answer is and took."""
    return f"{len(said.token_ids)} tokens in {said.duration_s:.1f} s"


def remembered(
    question: Question, scene_id: int, messages: Sequence[Message], generations: Sequence[Generation]
) -> Answers:
    """Return answers as they were kept, so that a link shows them again."""
    answers = Answers(question, scene_id=scene_id, running=False)
    by_generation = {m.generation_id: m for m in messages if m.generation_id is not None}
    for generation in generations:
        answer = answers.by_age.get(generation.address)
        if answer is None:
            continue
        answer.text, answer.status = generation.text, generation.error or length(generation)
        if generation.finish_reason == "cancelled":
            answer.status = "stopped"
        message = by_generation.get(generation.id)
        answer.kept = Kept(message.id if message else None, generation.id)
        if generation.prompt is not None:
            answer.utterance = Utterance(
                address=generation.address,
                weights_sha256=generation.weights_sha256,
                engine=generation.engine,
                engine_version=generation.engine_version,
                prompt=generation.prompt,
                sampling=generation.sampling,
                text=generation.text,
                token_ids=generation.token_ids,
                mean_logprob=generation.mean_logprob,
                started_at=generation.started_at,
            )
    for answer in answers.by_age.values():
        if answer.status == WAITING:
            answer.status = "nothing was kept"
    return answers
