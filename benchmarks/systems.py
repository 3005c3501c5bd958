"""The systems that are compared, their settings, and how one of them is run as a program of its own."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rows import Row, append_row, read_rows, tell
from selves.errors import CorpusError, TrainingError
from selves.files import new_folder, write_file
from selves.settings import House
from training import corpus
from training import tokenizer as alphabet
from training.recipe import Source

ROOT = Path(__file__).parent.parent
RECIPES = Path(__file__).parent / "recipes"
Settings = dict[str, Any]

SHAPE: Settings = {"depth": 4, "width": 128, "head_dim": 64, "vocabulary": 2048}
READING: Settings = {"context": 128, "batch_tokens": 2048}
DEFAULTS: dict[str, Settings] = {
    "hf_trainer": {**SHAPE, **READING, "hidden": 352, "rate": 3e-3, "dtype": "float32", "compile": True},
    "nanochat": {
        **SHAPE,
        **READING,
        "matrix_rate": 0.5,
        "embedding_rate": 0.4,
        "unembedding_rate": 0.05,
        "weight_decay": 1.0,
        "packing": "windows",
        "dtype": "float32",
    },
}
"""Where sweeps begin. nanochat's rates are those of its options, before its own scaling by batch and width;
its weight decay is a multiple of what its rule gives."""
QUICK: Settings = {"depth": 2, "width": 64, "head_dim": 32, "hidden": 192, "vocabulary": 512} | {
    "context": 64,
    "batch_tokens": 512,
    "compile": False,
}
SYSTEMS = ("ours", "nanochat", "hf_trainer")


class Text(NamedTuple):
    """The documents that all systems get, and the hash by which only equal ones are compared."""

    source: Path
    folder: Path
    fingerprint: str


def prepare_text(source: Path, work: Path, tell: Callable[[str], None]) -> Text:
    """Split a folder of text as training does, and write its documents for the peers. Raises CorpusError."""
    house = House(home=work / "none", cast_path=work / "none")
    split: dict[str, list[str]] = {"train": [], "heldout": []}
    for document in corpus.read(Source(folder=str(source)), house):
        split["heldout" if document.held_out else "train"].append(corpus.render(document))
    if not all(split.values()):
        raise CorpusError(f"{source} is too little text: no document is held out", "give it more documents")
    lines = {name: "".join(json.dumps(text) + "\n" for text in texts) for name, texts in split.items()}
    fingerprint = hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:12]
    folder = work / f"text-{fingerprint}"
    if not folder.exists():
        with new_folder(folder) as partial:
            for name, content in lines.items():
                (partial / f"{name}.jsonl").write_text(content, "utf-8")
    sizes = {name: sum(len(text.encode()) for text in texts) / 1e6 for name, texts in split.items()}
    tell(
        f"text {fingerprint}: {sizes['train']:.1f} MB in {len(split['train']):,} documents to learn from, "
        f"{sizes['heldout']:.2f} MB in {len(split['heldout']):,} held out"
    )
    return Text(source.absolute(), folder, fingerprint)


def prepare_tokens(text: Text, vocabulary: int, tell: Callable[[str], None]) -> None:
    """Learn our tokenizer and write the documents as tokens, for the HF Trainer."""
    import numpy as np

    path = text.folder / f"train-{vocabulary}.npy"
    if path.exists():
        return
    tell(f"learning {vocabulary} tokens for the HF Trainer")
    with (text.folder / "train.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    tokenizer = alphabet.learn(iter(texts), vocabulary)
    bos, end = alphabet.token(tokenizer, alphabet.BOS), alphabet.token(tokenizer, alphabet.END)
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    tokens = np.concatenate([np.array([bos, *encoding.ids, end], np.uint16) for encoding in encodings])
    write_file(text.folder / f"tokenizer-{vocabulary}.json", alphabet.as_file(tokenizer))
    partial = path.with_suffix(".partial.npy")
    np.save(partial, tokens)
    partial.replace(path)


def our_settings(recipe: str, folder: Path, *, compiled: bool = False) -> Settings:
    """Return settings for ours from a recipe of benchmarks/recipes."""
    tables = tomllib.loads((RECIPES / f"{recipe}.toml").read_text("utf-8"))
    return {"recipe": tables, "folder": str(folder), "compiled": compiled}


def recipe_for(minutes: float) -> str:
    """Return the name of the recipe that was made for about so many minutes."""
    made_for = {
        float(path.stem.removesuffix("-minutes")): path.stem for path in RECIPES.glob("*-minutes.toml")
    }
    return made_for[min(made_for, key=lambda known: abs(math.log(known / minutes)))]


class Bench:
    """Runs jobs and keeps their results: each is appended to runs.jsonl, and not run again."""

    def __init__(
        self, text: Text, out: Path, work: Path, threads: int, nanochat: tuple[Path | None, str]
    ) -> None:
        self.text, self.out, self.work, self.threads = text, out, work, threads
        self.checkout, self.nanochat_python = nanochat
        self.path = out / "runs.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        self.rows: list[Row] = read_rows(self.path)

    def run(self, kind: str, system: str, settings: Settings, *, seed: int = 1, **job: Any) -> Row:
        """Return the row of a job, from earlier or run now. Raises TrainingError if the system fails."""
        known = {key: value for key, value in settings.items() if key != "folder"}
        identity = {
            "kind": kind,
            "system": system,
            "text": self.text.fingerprint,
            "threads": self.threads,
            "seed": seed,
            "settings": known,
            **job,
        }
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        for row in self.rows:
            if row["key"] == key:
                return row
        what = " ".join(f"{name}={value}" for name, value in job.items() if name != "measured")
        tell(f"{kind}: {system} seed={seed} {what}")
        if system != "ours":
            prepare_tokens(self.text, settings["vocabulary"], tell)
        begun = time.perf_counter()
        order = {"text": str(self.text.folder), "work": str(self.work), "threads": self.threads}
        result = self._ask(system, {**order, "seed": seed, "settings": settings, **job}, key)
        row = {"key": key, **identity, "result": result, "took_s": round(time.perf_counter() - begun, 1)}
        self.keep(row)
        measured = result["bits_per_byte"]
        tell(
            f"  {result['tokens_per_s']:,.0f} tokens/s, {result['steps']} steps in {result['seconds']:.0f} s"
            + (f", {measured:.4f} bits per byte" if measured else "")
            + f"; took {row['took_s']:.0f} s in all"
        )
        return row

    def keep(self, row: Row) -> None:
        """Append a row to runs.jsonl, on disk when this returns."""
        append_row(self.path, row)
        self.rows.append(row)

    def _ask(self, system: str, job: dict[str, Any], key: str) -> dict[str, Any]:
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": str(ROOT)}
        python = sys.executable
        if system == "nanochat":
            python = self.nanochat_python
            environment["PYTHONPATH"] += os.pathsep + str(self.checkout)
        if system == "ours":
            environment.setdefault("GOMP_SPINCOUNT", "1000")  # as `selves train` sets it before torch loads
        log = self.out / "logs" / f"{key}.txt"
        log.parent.mkdir(exist_ok=True)
        with log.open("w", encoding="utf-8") as story:
            done = subprocess.run(
                [python, "-m", f"benchmarks.peers.{system}"],
                cwd=ROOT,
                env=environment,
                input=json.dumps(job),
                stdout=subprocess.PIPE,
                stderr=story,
                text=True,
                check=False,
            )
        if done.returncode:
            said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
            raise TrainingError(f"{system} failed; it last said: {said[-1]}", f"read {log}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
