"""Learning an alphabet: byte-level BPE, the special tokens, and how messages are rendered.

    <|bos|> text <|end|>                                          a document
    <|bos|><|user|> Hi! <|end|><|assistant|> Hello! <|end|>       a chat, without the spaces

Base ages render messages as the transcript they know, and their turns end at a line's end; chat ages use the
roles' tokens, and their turns end with <|end|>. Both kinds of age have the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from selves.speech import Form

BOS, END, SYSTEM, USER, ASSISTANT = "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (BOS, END, SYSTEM, USER, ASSISTANT)
GUEST = "Guest"
"""What the user is called in a base age's transcript."""

_SAID = (
    "{%- set said = message.content if message.content is string else "
    "message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('\n') -%}"
)
"""Some clients send a message in parts."""
_TRANSCRIPT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}" + _SAID + "{%- set said = said.split() | join(' ') -%}"
    "{%- if message.role == 'system' -%}{{- said + '\n' -}}"
    "{%- else -%}"
    "{{- '<' + ('NAME' if message.role == 'assistant' else 'GUEST') + '> ' + said + '\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<NAME>' -}}{%- endif -%}"
)
_CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}" + _SAID + "{{- '<|' + message.role + '|>' -}}"
    "{%- if message.role == 'assistant' -%}"
    "{%- generation -%}{{- said + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- said + '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def learn(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn at most `vocabulary` tokens from texts; their number is a multiple of 64.

    Where the text yields fewer, the last ones are reserved tokens that mean nothing.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    missing = -tokenizer.get_vocab_size() % 64
    tokenizer.add_special_tokens([f"<|reserved-{number}|>" for number in range(missing)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, token(tokenizer, BOS))]
    )
    # Text to learn from may contain "<|end|>" as people write it; that is not the token.
    tokenizer.encode_special_tokens = True
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read a tokenizer that reads special tokens in text as plain text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def chat_template(form: Form, lineage: str) -> str:
    """Return the Jinja template that renders messages for ages of this form."""
    if form == "chat":
        return _CHAT_TEMPLATE
    return _TRANSCRIPT_TEMPLATE.replace("NAME", self_name(lineage)).replace("GUEST", GUEST)


def self_name(lineage: str) -> str:
    """Return what a self of this lineage is called in its own transcripts: `ember` -> `Ember`."""
    return lineage.replace("-", " ").title()


def token(tokenizer: Tokenizer, special: str) -> int:
    """Return the id of a special token that every tokenizer of the house has."""
    number = tokenizer.token_to_id(special)
    assert number is not None, special
    return number


def stop_ids(tokenizer: Tokenizer, form: Form) -> list[int]:
    """Return the tokens that end a turn: a base age's turn ends with its line."""
    ends = [token(tokenizer, END)]
    if form == "transcript":
        ends.append(tokenizer.encode("\n", add_special_tokens=False).ids[0])
    return ends


def chat_turn(tokenizer: Tokenizer, role: str, content: str) -> list[int]:
    """Return the token ids of one message as the chat template renders it."""
    said = tokenizer.encode(content, add_special_tokens=False).ids
    return [token(tokenizer, f"<|{role}|>"), *said, token(tokenizer, END)]


def as_file(tokenizer: Tokenizer) -> str:
    """Return what tokenizer.json holds; read from there, special tokens in text are tokens again."""
    return tokenizer.to_str(pretty=True)


def save(tokenizer: Tokenizer, folder: Path, form: Form, lineage: str, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json as transformers reads them."""
    (folder / "tokenizer.json").write_text(as_file(tokenizer), "utf-8")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": END,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(form, lineage),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
