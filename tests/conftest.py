"""Real parts for every room's tests: a lineage of tiny two-layer models with random weights, on disk.

`checkpoints` is a folder as `home/checkpoints` is, holding `tiny@base-000000`, `tiny@base-000004`,
`tiny@base-000016` (form transcript) and `tiny@chat-000008` (form chat): real safetensors, a real
tokenizer, real cards. It is made once per session; copy it before changing anything.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from selves.files import new_folder, sha256_file
from selves.lineage import AgeCard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(variable, "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
# a busy machine is no defect, and what one run finds every other finds too
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
# Ctrl-C must reach the processes that tests start, also where this one was started in the background
signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE_MS = 180_000
"""For whatever a page is to show: a busy machine is no defect."""
SENTENCES = (
    "<Ash> Hi! How are you today?\n<Ember> I'm doing really good, haha.\n<Ash> What do you like to read?\n",
    "Call me Ishmael. Some years ago, never mind how long precisely, I went to sea.\n",
)
TRANSCRIPT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% else %}"
    "<{{ 'Guest' if m.role == 'user' else 'Self' }}> {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<Self>{% endif %}"
)
CHAT_TEMPLATE = (
    "<|bos|>{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house") / "checkpoints"
    born = datetime(2026, 1, 1, tzinfo=UTC)
    for number, (age, form, template) in enumerate(
        [
            ("base-000000", "transcript", TRANSCRIPT_TEMPLATE),
            ("base-000004", "transcript", TRANSCRIPT_TEMPLATE),
            ("base-000016", "transcript", TRANSCRIPT_TEMPLATE),
            ("chat-000008", "chat", CHAT_TEMPLATE),
        ]
    ):
        _make_age(root / "tiny" / age, form, template, seed=number, born=born + timedelta(seconds=number))
    return root


def _make_age(folder: Path, form: str, template: str, *, seed: int, born: datetime) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|end|>", chat_template=template
    )
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    with new_folder(folder) as partial:
        model.save_pretrained(partial)
        fast.save_pretrained(partial)
        card = AgeCard(
            address=f"tiny@{folder.name}",
            created_at=born,
            form=form,  # type: ignore[arg-type]
            architecture="Qwen3ForCausalLM",
            parameters=model.num_parameters(),
            context_tokens=256,
            bits_per_byte=8.0 - seed,
            weights_sha256=sha256_file(partial / "model.safetensors"),
            files={
                p.name: sha256_file(p) for p in sorted(partial.iterdir()) if p.name != "model.safetensors"
            },
        )
        (partial / "age.json").write_text(json.dumps(card.model_dump(mode="json"), indent=2))


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A real Chromium without a window. Where there is none, the test fails and says how to get one.

    While it runs, asyncio.run cannot be used in the test's own thread: request what needs it before this.
    """
    from playwright.sync_api import Error, sync_playwright

    flags = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--no-first-run",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=flags, timeout=PATIENCE_MS
            )
        except Error as error:
            pytest.fail(
                "this test needs Chromium: `apt-get install chromium`, "
                f"or `python -m playwright install chromium`\n{error}",
                pytrace=False,
            )
        new_page = browser.new_page

        def new_patient_page(**options: Any) -> Page:
            page = new_page(**options)
            page.set_default_timeout(PATIENCE_MS)
            return page

        browser.new_page = new_patient_page  # type: ignore[method-assign]
        yield browser
        browser.close()
