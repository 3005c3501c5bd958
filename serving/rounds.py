"""Who speaks when in the embedded engine: rounds in which every sequence gets its next token.

Each round reads some of the prompts that wait, then gives every sequence that has read its own the next
token: those whose ages have one shape in one pass, others one by one. Sequences come and go between rounds.
An age is loaded when somebody asks for it and stays while there is memory; the one used longest ago goes
first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import torch

from selves.cast import Dtype
from selves.errors import AgeError, EngineError, SelvesError, UnfitError
from serving.asks import PromptScores, Scored
from serving.decoder import Company
from serving.drawing import Drawing, alternatives
from serving.embedded import MAX_CHUNK, LoadedAge, needed_bytes
from serving.engine import MEASURES, Job
from serving.facts import Identity
from serving.kv import CHUNK, KV, Beginnings
from serving.sampling import Floats
from serving.shape import Shape

log = logging.getLogger(__name__)

MAX_ACTIVE = 64
"""Sequences that speak at the same time; later ones wait in order."""
READ_TOKENS = 256
"""How much of waiting prompts is read in one round, while others wait for their next token."""
BEGINNINGS_SHARE = 8
"""One part in so many of the memory is for remembered beginnings of prompts."""


class Speaker:
    """One job that has its age in memory: what it has read, and what it draws."""

    def __init__(self, job: Job, age: LoadedAge, arrived: int) -> None:
        self.job = job
        self.age = age
        self.order = job.ask.priority, arrived
        self.key = Identity.of(job.age)
        self.memory = age.new_memory()
        self.drawing = Drawing(age.words, job.prompt_ids, job.ask)
        self.read = 0
        """Tokens of the prompt that were read."""
        self.scores: list[tuple[Scored, tuple[Scored, ...]]] = []

    @property
    def unread(self) -> int:
        return len(self.job.prompt_ids) - self.read

    def next_chunk(self) -> list[int]:
        size = CHUNK if isinstance(self.memory, KV) else MAX_CHUNK
        return self.job.prompt_ids[self.read : self.read + size]

    def score(self, logprobs: torch.Tensor) -> None:
        """Keep what the prompt's next tokens had, from logprobs (n, V) at the positions before them."""
        named = self.job.ask.prompt_logprobs
        following = self.job.prompt_ids[self.read + 1 : self.read + 1 + len(logprobs)]
        for token_id, row in zip(following, logprobs.numpy(), strict=False):
            text = self.age.words.token_text(token_id)
            token = Scored(token_id, float(row[token_id]), text)
            self.scores.append((token, alternatives(row, named, self.age.words.token_text)))


class Rounds:
    """The worker's state. Not for more than one thread.

    `memory_bytes` bounds weights and what sequences remember; `hot`, if not 0, the number of ages.
    """

    def __init__(self, *, memory_bytes: int, hot: int = 0, dtype: Dtype = "auto") -> None:
        self._memory_bytes = memory_bytes
        self._hot_limit = hot
        self._dtype: Dtype = dtype
        self._waiting: list[tuple[tuple[int, int], Job]] = []
        self._speakers: list[Speaker] = []
        self._hot: OrderedDict[Identity, LoadedAge] = OrderedDict()
        self._companies: dict[Shape, tuple[list[Speaker], Company]] = {}
        self._beginnings = Beginnings(memory_bytes // BEGINNINGS_SHARE)
        self._turn = False
        self._arrived = self._loads = self._drawn = self._read = 0

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._speakers)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Let a job wait for its turn: by priority, then by arrival."""
        self._arrived += 1
        self._waiting.append(((job.ask.priority, self._arrived), job))
        self._waiting.sort(key=lambda pair: pair[0])

    def measures(self) -> Mapping[str, float]:
        """Return the values of MEASURES."""
        values = (
            len(self._speakers),
            len(self._hot),
            self._loads,
            self._weights_bytes() + self._said_bytes() + self._beginnings.nbytes,
            self._memory_bytes,
            self._read,
            self._beginnings.hits,
            self._drawn,
        )
        return dict(zip(MEASURES, values, strict=True))

    def fail_all(self, error: SelvesError) -> None:
        """End every job."""
        for job in [*(speaker.job for speaker in self._speakers), *(job for _, job in self._waiting)]:
            job.fail(error)
        self._speakers, self._waiting = [], []

    @torch.inference_mode()
    def play(self) -> None:
        """Play one round."""
        self._admit()
        self._read_prompts()
        speaking = [s for s in self._speakers if not s.unread and not s.job.cancelled]
        together = [s for s in speaking if s.age.shape is not None]
        together.sort(key=lambda s: (hash(s.age.shape), s.key, s.order))
        for shape, group in groupby(together, key=lambda s: s.age.shape):
            assert shape is not None
            self._speak_together(shape, list(group))
        for speaker in speaking:
            if speaker.age.shape is None:
                self._guarded(speaker, self._speak_alone)
        self._speakers = [s for s in self._speakers if not s.job.cancelled]
        # who has gone must not be held on to by who they went with
        self._companies = {
            shape: (them, company)
            for shape, (them, company) in self._companies.items()
            if not any(speaker.job.cancelled for speaker in them)
        }

    # coming in

    def _admit(self) -> None:
        """Begin waiting jobs in their order, while there is room for them and for their ages."""
        while self._waiting and len(self._speakers) < MAX_ACTIVE:
            order, job = self._waiting[0]
            if not job.cancelled:
                try:
                    age = self._bring_in(job)
                    if age is None:
                        return
                    _check_vocabulary(job, age)
                    speaker = Speaker(job, age, order[1])
                    if not self._has_room_for(speaker) and self._speakers:
                        return
                    self._speakers.append(speaker)
                except SelvesError as error:
                    job.fail(error)
                except Exception as error:  # one age that cannot be read must not silence the others
                    log.exception("loading %s failed", job.age.card.address)
                    job.fail(EngineError(f"{job.age.card.address} does not load: {error}"))
            self._waiting.pop(0)

    def _has_room_for(self, speaker: Speaker) -> bool:
        """Take what is remembered of a prompt, if all that is still to be read has room beside it."""
        if not isinstance(speaker.memory, KV):
            return True
        readers = [speaker, *(s for s in self._speakers if s.unread and isinstance(s.memory, KV))]
        needed = sum(s.memory.grown_bytes(len(s.job.prompt_ids) + CHUNK) for s in readers)
        if not self._make_room(needed, keep=speaker.key):
            return False
        if speaker.job.ask.prompt_logprobs is None:
            self._beginnings.recall(speaker.key, speaker.job.prompt_ids, speaker.memory)
            speaker.read = speaker.memory.length
        return True

    def _bring_in(self, job: Job) -> LoadedAge | None:
        """Return a job's age, loaded if need be; None while those in memory are all busy."""
        key = Identity.of(job.age)
        if key not in self._hot:
            needed = needed_bytes(job.age, self._dtype)
            if needed > self._memory_bytes:
                raise UnfitError(
                    f"{job.age.card.address} takes {needed / 1e9:.2f} GB, and the engine may take "
                    f"{self._memory_bytes / 1e9:.2f} GB",
                    "allow it more with memory_gb under [serving]",
                )
            if not self._make_room(needed, ages=1):
                return None
            self._hot[key] = LoadedAge(job.age, self._dtype)
            self._loads += 1
        self._hot.move_to_end(key)
        return self._hot[key]

    def _make_room(self, needed: int, *, ages: int = 0, keep: Identity | None = None) -> bool:
        """Let go of what is not in use until `needed` bytes are free; False when that is not enough."""
        busy = {keep, *(speaker.key for speaker in self._speakers)}
        idle = [key for key in self._hot if key not in busy]
        while True:
            taken = self._weights_bytes() + self._said_bytes()
            crowded = self._hot_limit and len(self._hot) + ages > self._hot_limit
            if taken + needed <= self._memory_bytes and not crowded:
                self._beginnings.shrink(self._memory_bytes - taken - needed)
                return True
            if not idle:
                return False
            self._let_go(idle.pop(0))

    def _let_go(self, key: Identity) -> None:
        shape = self._hot.pop(key).shape
        if shape is not None:
            self._companies.pop(shape, None)

    def _weights_bytes(self) -> int:
        return sum(age.nbytes for age in list(self._hot.values()))

    def _said_bytes(self) -> int:
        return sum(speaker.age.said_bytes(speaker.memory) for speaker in list(self._speakers))

    # reading prompts

    def _read_prompts(self) -> None:
        """Read a round's share of prompts: by priority, and the one with the least left to read first."""
        left = READ_TOKENS
        while left > 0:
            readers = [s for s in self._speakers if s.unread and not s.job.cancelled]
            if not readers:
                return
            # the shortest first, but every other time the oldest, so that a long one is read too
            self._turn = not self._turn
            reader = min(readers, key=lambda s: (s.order[0], s.unread if self._turn else 0, s.order[1]))
            left -= len(reader.next_chunk())
            self._guarded(reader, self._read_chunk)

    def _read_chunk(self, speaker: Speaker) -> None:
        ask, chunk = speaker.job.ask, speaker.next_chunk()
        scoring = ask.prompt_logprobs is not None
        self._check_room(speaker, len(chunk))
        logits = speaker.age.read(chunk, speaker.memory, every=scoring)
        if scoring:
            speaker.score(_logprobs(logits))
        speaker.read += len(chunk)
        self._read += len(chunk)
        if isinstance(speaker.memory, KV) and len(chunk) == CHUNK:
            self._beginnings.remember(speaker.key, speaker.job.prompt_ids, speaker.memory)
            free = self._memory_bytes - self._weights_bytes() - self._said_bytes()
            self._beginnings.shrink(max(0, free))
        if speaker.unread:
            return
        if scoring:
            tokens, others = zip(*speaker.scores, strict=True) if speaker.scores else ((), ())
            speaker.job.deliver(PromptScores(tuple(tokens), tuple(others)))
        if ask.max_tokens == 0:
            speaker.job.cancel()
        else:
            self._draw([speaker], logits[-1:])

    def _check_room(self, speaker: Speaker, tokens: int) -> None:
        """Make room for so many more tokens of a sequence. Raises EngineError when there is none."""
        memory = speaker.memory
        if isinstance(memory, KV):
            needed = memory.grown_bytes(memory.length + tokens)
        else:  # it has grown evenly so far
            said = speaker.age.said_bytes(memory)
            needed = said * tokens // max(1, speaker.read + len(speaker.drawing.drawn))
        if needed and not self._make_room(needed):
            raise EngineError(
                f"the engine's memory of {self._memory_bytes / 1e9:.2f} GB is full of what is being said",
                "try again soon, or allow it more with memory_gb under [serving]",
            )
        if isinstance(memory, KV):  # at once, so that it is counted when the next one asks
            memory.grow(memory.length + tokens)

    # speaking

    def _speak_together(self, shape: Shape, speakers: list[Speaker]) -> None:
        """Give each its next token in one pass; if it fails each tries alone, so that only the cause ends."""
        for speaker in speakers:
            self._guarded(speaker, lambda s: self._check_room(s, 1))
        speakers = [s for s in speakers if not s.job.cancelled]
        if not speakers:
            return
        try:
            logits = self._step(shape, speakers)
        except Exception:
            log.exception("a pass of %d sequences failed; each goes on alone", len(speakers))
            self._beginnings.shrink(0)
            for speaker in speakers:
                self._guarded(speaker, lambda s: self._draw([s], self._step(shape, [s])))
        else:
            self._draw(speakers, logits)

    def _step(self, shape: Shape, speakers: list[Speaker]) -> torch.Tensor:
        """Return the logits (speakers, V) after each one's last token."""
        company = self._company(shape, speakers)
        decoder = speakers[0].age.decoder
        assert decoder is not None
        return decoder.step(company, [s.drawing.drawn[-1] for s in speakers], [s.memory for s in speakers])

    def _company(self, shape: Shape, speakers: list[Speaker]) -> Company:
        """Return the company of these speakers, who are in the order of their ages."""
        before = self._companies.get(shape)
        if before is not None and before[0] == speakers:
            return before[1]
        members = [list(own) for _, own in groupby(speakers, key=lambda s: s.key)]
        company = Company([(own[0].age.model, len(own)) for own in members if own[0].age.model is not None])
        self._companies[shape] = speakers, company
        return company

    def _speak_alone(self, speaker: Speaker) -> None:
        self._check_room(speaker, 1)
        self._draw([speaker], speaker.age.read(speaker.drawing.drawn[-1:], speaker.memory))

    def _draw(self, speakers: Sequence[Speaker], logits: torch.Tensor) -> None:
        """Draw each one's token from logits (speakers, V), and deliver it."""
        for speaker, row, own in zip(speakers, logits.numpy(), _logprobs(logits).numpy(), strict=True):
            self._guarded(speaker, partial(self._draw_one, row=row, own=own))

    def _draw_one(self, speaker: Speaker, row: Floats, own: Floats) -> None:
        if own[0] != own[0]:
            raise EngineError(f"{speaker.age.address} gives no numbers: its weights are broken")
        piece = speaker.drawing.draw(row, own)
        self._drawn += 1
        speaker.job.deliver(piece)
        if piece.finish is not None:
            speaker.job.cancel()

    def _guarded(self, speaker: Speaker, act: Callable[[Speaker], None]) -> None:
        """Do something for one speaker. Whatever goes wrong ends this one only."""
        try:
            act(speaker)
        except SelvesError as error:
            speaker.job.fail(error)
        except Exception as error:
            log.exception("%s failed while speaking", speaker.age.address)
            speaker.job.fail(EngineError(f"{speaker.age.address} failed while speaking: {error}"))


def _check_vocabulary(job: Job, age: LoadedAge) -> None:
    strange = next((i for i in job.prompt_ids if i >= age.vocabulary), None)
    if strange is not None:
        raise AgeError(
            f"{age.address}: its tokenizer says token {strange}, its model knows {age.vocabulary} tokens",
            "they do not belong together; import the model again with its own tokenizer",
        )


def _logprobs(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1)
