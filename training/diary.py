"""A self writes in the middle of training: a diary line, a letter to the age it will be, one text continued.

Observer-free: the writing age is a copy with its own random source, so the weights that come after are
bit for bit those of a run in which nobody wrote. An age's writings are stored with it before it is announced.
"""

from __future__ import annotations

from tokenizers import Tokenizer

from selves.speech import ChatMessage, Form, Prompt, Sampling, Writing, WritingKind, seed_from
from training import tokenizer as alphabet
from training.generate import Speaker, say
from training.recipe import Recipe

KINDS: tuple[WritingKind, ...] = ("diary", "letter", "continuation")


def write(recipe: Recipe, speaker: Speaker, form: Form) -> list[Writing]:
    """Return all that an age writes when it is kept. The seed names lineage, age, kind and number."""
    writings: list[Writing] = []
    for kind in KINDS:
        prompt = frame(recipe, kind, form)
        ids, ends = prepare(speaker.tokenizer, prompt)
        for number in range(recipe.diary.samples):
            sampling = Sampling(
                max_tokens=recipe.diary.max_tokens,
                temperature=recipe.diary.temperature,
                stop=() if prompt.form == "chat" else ("\n\n", "\n<"),
                seed=seed_from(recipe.lineage, recipe.seed, speaker.address, kind, number),
            )
            writings.append(
                Writing(
                    kind=kind,
                    to="future" if kind == "letter" else None,
                    number=number,
                    utterance=say(speaker, prompt, ids, sampling, ends),
                )
            )
    return writings


def frame(recipe: Recipe, kind: WritingKind, form: Form) -> Prompt:
    """Return what an age is given to write: a beginning, or for a chat age a question.

    The continuation is the same text for every age of either form.
    """
    diary = recipe.diary
    if kind == "continuation":
        return Prompt(form="transcript", text=diary.continuation)
    if form == "chat":
        asked = diary.ask_diary if kind == "diary" else diary.ask_letter
        return Prompt(form="chat", messages=(ChatMessage(role="user", content=asked),))
    begun = diary.diary if kind == "diary" else diary.letter
    return Prompt(form="transcript", text=f"<{alphabet.self_name(recipe.lineage)}> {begun}")


def prepare(tokenizer: Tokenizer, prompt: Prompt) -> tuple[list[int], list[int]]:
    """Return a prompt's token ids and the tokens that end the answer, as the age's own template has it."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    ends = [alphabet.token(tokenizer, alphabet.END)]
    ids = [alphabet.token(tokenizer, alphabet.BOS)]
    if prompt.form == "transcript":
        return ids + encode(prompt.text), ends
    for message in prompt.messages:
        ids += alphabet.chat_turn(tokenizer, message.role, message.content)
    return [*ids, alphabet.token(tokenizer, alphabet.ASSISTANT)], ends
