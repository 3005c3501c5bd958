"""The engine that needs nothing else, its lower half: an age in memory.

Any causal language model of transformers works. The families of `shape.py` run through `decoder.py`, many
ages and sequences at once; others through transformers' own classes, one sequence at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from selves.cast import Dtype
from selves.errors import AgeError, UnfitError, UsageError
from selves.lineage import Age
from serving.decoder import Company, Decoder, Model, make_model
from serving.drawing import Words
from serving.kv import KV
from serving.machine import give_back_memory
from serving.shape import read_shape
from serving.weights import open_weights, with_adapter

MAX_CHUNK = 256
"""A prompt goes through transformers' classes in chunks of this size, so that it does not stop all others."""


NANOCHAT = "selves_nanochat"


def prepare_torch(threads: int) -> None:
    """Set this process's compute threads and silence transformers. Call once, in the worker."""
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def load_tokenizer(age: Age) -> Any:
    """Load an age's tokenizer. Raises AgeError."""
    _register_own_class(age.folder)
    try:
        return AutoTokenizer.from_pretrained(age.folder, local_files_only=True)
    except Exception as error:  # tokenizers raises nothing more special
        raise AgeError(f"the tokenizer of {age.card.address} does not load: {error}", "restore it") from error


def _register_own_class(folder: Path) -> None:
    """Tell transformers of the one class that is ours, only where it is needed: that takes a second."""
    config = folder / "config.json"
    if config.exists() and NANOCHAT in config.read_text("utf-8"):
        from serving import nanochat

        nanochat.register()


def encode(
    tokenizer: Any,
    prompt: str | list[int] | list[dict[str, str]],
    template: Mapping[str, Any],
    *,
    special_tokens: bool = True,
) -> list[int]:
    """Return the token ids of a text, of ids (checked), or of chat messages. Raises UsageError."""
    if isinstance(prompt, str):
        return tokenizer(prompt, add_special_tokens=special_tokens, verbose=False)["input_ids"]
    if all(isinstance(token_id, int) for token_id in prompt):
        outside = [i for i in prompt if not 0 <= i < len(tokenizer)]  # type: ignore[operator]
        if outside:
            raise UsageError(f"token {outside[0]} is not in the vocabulary of {len(tokenizer)} tokens")
        return prompt  # type: ignore[return-value]
    fixed = [name for name in template if name in inspect.signature(tokenizer.apply_chat_template).parameters]
    if fixed:
        raise UsageError(f"chat_template_kwargs may not set {fixed[0]!r}")
    if tokenizer.chat_template is None:
        raise UsageError("this age has no chat template", "ask /v1/completions instead")
    try:
        return tokenizer.apply_chat_template(
            prompt, tokenize=True, add_generation_prompt=True, return_dict=False, **template
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise UsageError(f"the age's chat template refuses these messages: {error}") from error


class LoadedAge:
    """An age in memory. Raises AgeError when its files are not what was written, or do not load."""

    def __init__(self, age: Age, dtype: Dtype = "auto") -> None:
        age.verify()
        self.address = age.card.address
        base = age.base() or age
        if base is not age:
            base.verify()
        _register_own_class(base.folder)
        try:
            config: Any = AutoConfig.from_pretrained(base.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise AgeError(f"{self.address} does not load: {error}", "train or import it again") from error
        self.tokenizer = load_tokenizer(age)
        chosen = choose_dtype(config.dtype or torch.float32, dtype)
        self.nbytes = needed_bytes(age, dtype)
        self.shape = read_shape(config, age.card.context_tokens, chosen)
        self.model: Model | None = None
        self.decoder: Decoder | None = None
        self.whole: Any = None
        if self.shape is not None:
            read = open_weights(age, chosen)
            kept = open_weights(age, chosen) if self.shape.tied else read
            try:
                self.model = make_model(self.shape, read, kept, int8=dtype == "int8")
            except KeyError as error:
                raise _lacks(self.address, str(error.args[0])) from error
            self.decoder = Decoder(self.shape)
            self.prepare_alone()
        elif dtype == "int8":
            raise UnfitError(
                f"{self.address} is a {config.model_type}, and only the families that the engine runs itself "
                "can be rounded to int8",
                'set dtype = "auto" under [serving]',
            )
        else:
            self.whole = _load_whole(age, base, chosen)
            can_keep = "logits_to_keep" in inspect.signature(self.whole.forward).parameters
            self._last_only = {"logits_to_keep": 1} if can_keep else {}
        self.vocabulary = int(config.get_text_config(decoder=True).vocab_size)
        self.words = Words(self._decode, self._token_text, _end_ids(base, self.tokenizer, config))
        give_back_memory()

    def prepare_alone(self) -> None:
        """Make ready for reading prompts, after `model` was set."""
        assert self.model is not None
        self._alone = Company([(self.model, 1)], reading=True)

    def new_memory(self) -> Any:
        """Return what a sequence of this age remembers with: nothing yet."""
        if self.decoder is not None:
            return self.decoder.new_kv()
        from transformers import DynamicCache

        return DynamicCache(config=self.whole.config)

    def said_bytes(self, memory: Any) -> int:
        """Return what a sequence's memory takes."""
        if isinstance(memory, KV):
            return memory.nbytes
        tensors = [t for layer in memory.layers for t in (layer.keys, layer.values) if t is not None]
        return sum(tensor.nbytes for tensor in tensors)

    def read(self, token_ids: Sequence[int], memory: Any, *, every: bool = False) -> Tensor:
        """Read tokens of one sequence; returns the logits (1, V) after them, or every (n, V), in float32."""
        if self.decoder is not None:
            hidden = self.decoder.read(self._alone, token_ids, memory)
            return self.decoder.logits(self._alone, hidden if every else hidden[-1:])
        keep = {} if every else self._last_only
        inputs = torch.tensor([token_ids])
        logits = self.whole(input_ids=inputs, past_key_values=memory, use_cache=True, **keep).logits[0]
        return (logits if every else logits[-1:]).float()

    def _decode(self, token_ids: list[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _token_text(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)


def needed_bytes(age: Age, setting: Dtype) -> int:
    """Return what an age's weights will take in memory, before it is loaded. Raises AgeError."""
    base = age.base() or age
    config = base.read_json("config.json")
    files = {base.folder / base.weights_file, age.folder / age.weights_file}
    try:
        on_disk = sum(path.stat().st_size for path in files)
    except OSError as error:
        raise AgeError(f"{age.card.address} is incomplete: {error}", "train or import it again") from error
    kept = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"), torch.float32)
    itemsize = 1 if setting == "int8" else choose_dtype(kept, setting).itemsize
    return on_disk * itemsize // kept.itemsize


def choose_dtype(kept: torch.dtype, setting: Dtype) -> torch.dtype:
    """Return what to compute in: the setting, or the file's own type where this processor is fast with it."""
    if setting != "auto":
        return torch.bfloat16 if setting == "bfloat16" else torch.float32
    return kept if kept is torch.bfloat16 and has_bfloat16() else torch.float32


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; others are slower with it than with float32."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.7 has it not
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def _load_whole(age: Age, base: Age, dtype: torch.dtype) -> Any:
    """Load a model through transformers' own class. Raises AgeError."""
    from transformers import AutoModelForCausalLM

    address = age.card.address
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base.folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise AgeError(f"{address} does not load: {error}", "train or import it again") from error
    model, info = loaded
    if info["missing_keys"]:
        raise _lacks(address, ", ".join(sorted(info["missing_keys"])[:3]))
    if not model._supports_default_dynamic_cache():
        raise UnfitError(
            f"the embedded engine cannot run {age.card.architecture} ({address})",
            "serve it with vLLM: `selves serve --engine vllm --age ...`",
        )
    if base is not age:
        for name, tensor in with_adapter(dict(model.named_parameters()), age).items():
            model.get_parameter(name).data = tensor.data
    return model.eval()


def _lacks(address: str, names: str) -> AgeError:
    return AgeError(f"{address} lacks weights: {names}", "train or import it again")


def _end_ids(base: Age, tokenizer: Any, config: Any) -> frozenset[int]:
    """Return the tokens that end a text, wherever a model may name them."""
    named = [tokenizer.eos_token_id, config.get_text_config(decoder=True).eos_token_id]
    if (base.folder / "generation_config.json").exists():
        named.append(GenerationConfig.from_pretrained(base.folder, local_files_only=True).eos_token_id)
    return frozenset(i for ids in named if ids is not None for i in (ids if isinstance(ids, list) else [ids]))
