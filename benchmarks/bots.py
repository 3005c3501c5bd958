"""Selves on Discord with a voice that answers at once: what remains is what the bots themselves cost.

    python -m benchmarks.bots --out results
    python -m benchmarks.bots --out results --selves 4 16 64 --llmcord ../llmcord

Discord is the tests' double, the voice a server that answers at once; both run in this process, and the
bots under test in one of their own, as a user starts them. Latency is from a person's message, which mentions
a self, to the self's message: one after the other, each by somebody new. The rate is that of many messages at
once, in eight channels. llmcord (one bot, plain answers, no memory) does the same on the same double; and so
does a bot of ten lines that asks no voice: what the double and discord.py take, whatever a bot does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any, NamedTuple

from aiohttp import web

from benchmarks import machine
from selves.cli import make_parser, run_command
from selves.files import write_file
from tests.discord_double.server import Bot, Channel, Double, Message

ROOT = Path(__file__).parents[1]
CHANNELS = 8
WARM_UP = 20
SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "to", "vi", "wen", "dor", "fel", "gar", "hin", "jas", "pel")
AGE = "tiny@chat-000001"
EXAMPLES = """
python -m benchmarks.bots --out results                          4, 16 and 64 selves
python -m benchmarks.bots --out results --llmcord ../llmcord     and llmcord, from its own folder
python -m benchmarks.bots --out trial --selves 2 --turns 10      seconds, to see that it works
"""
LLMCORD = """
import os, runpy, sys
sys.path.insert(0, sys.argv[2])
from bots.discord_api import Endpoints, pointed_at
with pointed_at(Endpoints.from_environment(os.environ)):
    runpy.run_path(sys.argv[1], run_name="__main__")
"""
ECHO = """
import os, sys
sys.path.insert(0, sys.argv[1])
import discord
from bots.discord_api import Endpoints, pointed_at
client = discord.Client(intents=discord.Intents(guilds=True, guild_messages=True), max_messages=None)
@client.event
async def on_message(message):
    if not message.author.bot and client.user in message.mentions:
        await message.reply("Well, thank you.")
with pointed_at(Endpoints.from_environment(os.environ)):
    client.run(os.environ["TOKEN"])
"""


class Row(NamedTuple):
    """What one system did."""

    system: str
    selves: int
    turns: int
    p50_ms: float
    p95_ms: float
    turns_per_s: float
    memory_mb: float
    """Of its whole process, at the end."""


class Town(NamedTuple):
    """A Discord with bots and channels, and the moments at which messages came."""

    double: Double
    voice_url: str
    listener: Bot
    speakers: list[Bot]
    channels: list[Channel]
    came: dict[int, float]

    async def ask(self, number: int, channel: Channel) -> float:
        """Mention a self, as somebody new; return the seconds until it has answered."""
        sent, message = self.post(number, channel)
        answer = await self.double.until(lambda: self.answer_to(message), timeout_s=60)
        assert answer is not None
        return self.came[answer.id] - sent

    def post(self, number: int, channel: Channel) -> tuple[float, Message]:
        somebody = self.double.add_human(f"Person{number}-{channel.id}")
        speaker = self.speakers[number % len(self.speakers)]
        sent = time.perf_counter()
        return sent, somebody.post(channel, f"{self.double.mention(speaker)} how are you today?")

    def answer_to(self, message: Message) -> Message | None:
        newest = reversed(message.channel.messages.values())
        return next((m for m in newest if m.reply_to_id == message.id), None)


@asynccontextmanager
async def town(selves: int) -> AsyncIterator[Town]:
    """A double with a listener, so many selves and eight channels, beside a voice that answers at once."""
    async with Double() as double, _instant_voice() as voice_url:
        came: dict[int, float] = {}
        post = double.world.post

        def stamped(*args: Any, **kwargs: Any) -> Message:
            message = post(*args, **kwargs)
            came.setdefault(message.id, time.perf_counter())
            return message

        double.world.post = stamped  # type: ignore[method-assign]
        listener = double.add_bot("Listener", message_content=True)
        speakers = [double.add_bot(f"Self{number}") for number in range(selves)]
        channels = [double.add_channel(f"room-{number}") for number in range(CHANNELS)]
        yield Town(double, voice_url, listener, speakers, channels, came)


@asynccontextmanager
async def _instant_voice() -> AsyncIterator[str]:
    """An OpenAI-compatible server that streams ten words at once."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": AGE, "object": "model", "owned_by": "x"}]}
        )

    async def tokenize(request: web.Request) -> web.Response:
        count = len(await request.text()) // 4
        return web.json_response({"count": count, "tokens": list(range(count)), "max_model_len": 4096})

    dice = Random(0)

    def words() -> str:  # always others, since selves that repeat themselves are refused
        return " ".join("".join(dice.choices(SYLLABLES, k=3)) for _ in range(10)).capitalize() + "."

    async def chat(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": AGE}
        choice = {"index": 0, "delta": {"role": "assistant", "content": words()}, "finish_reason": None}
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        for event in ({**head, "choices": [choice]}, {**head, "choices": [last]}):
            await answer.write(f"data: {json.dumps(event)}\n\n".encode())
        await answer.write(b"data: [DONE]\n\n")
        return answer

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/health", models)
    app.router.add_post("/tokenize", tokenize)
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _running(
    command: Sequence[str], folder: Path, environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def measure(system: str, selves: int, turns: int, llmcord: Path | None) -> Row:
    """Start a system, ask it one by one, then at once, and stop it."""
    async with town(selves) as here:
        with tempfile.TemporaryDirectory(prefix="selves-bench-") as name:
            folder = Path(name)
            clean = {k: v for k, v in os.environ.items() if not k.startswith("SELVES_")}
            environment = clean | here.double.environment
            bots = here.speakers
            if system == "ours":
                command = _ours(here, folder, environment)
                bots = [here.listener, *here.speakers]
            elif llmcord is None:
                command = _echo(here, folder, environment)
            else:
                command = _llmcord(here, folder, llmcord)
            async with _running(command, folder, environment) as process:
                await here.double.until(lambda: here.double.is_online(*bots), timeout_s=180)
                for number in range(WARM_UP):
                    await here.ask(number, here.channels[number % CHANNELS])
                spans = [
                    await here.ask(WARM_UP + number, here.channels[number % CHANNELS])
                    for number in range(turns)
                ]
                rate = await _at_once(here, turns)
                memory = _memory_mb(process.pid)
    cuts = quantiles(spans, n=20)
    return Row(system, selves, turns, median(spans) * 1000, cuts[-1] * 1000, rate, memory)


async def _at_once(here: Town, turns: int) -> float:
    """Post many messages at once; return how many a second were answered."""
    began = time.perf_counter()
    asked = [here.post(10_000 + number, here.channels[number % CHANNELS])[1] for number in range(turns)]
    await here.double.until(lambda: all(here.answer_to(message) for message in asked), timeout_s=120)
    return turns / (time.perf_counter() - began)


def _ours(here: Town, folder: Path, environment: dict[str, str]) -> list[str]:
    channels = ", ".join(str(channel.id) for channel in here.channels)
    personas = "".join(
        f'\n[[persona]]\nname = "{bot.user.name}"\naddress = "{AGE}"\ntoken = "TOKEN_{number}"\n'
        for number, bot in enumerate(here.speakers)
    )
    head = f'[discord]\nchannels = [{channels}]\nhear = "all"\nnotice = false\n'
    (folder / "selves.toml").write_text(head + personas, "utf-8")
    environment |= {"SELVES_HOME": str(folder / "home"), "SELVES_CAST": str(folder / "selves.toml")}
    environment |= {"SELVES_URL": here.voice_url, "SELVES_REGISTRAR_TOKEN": here.listener.token}
    environment |= {"PYTHONPATH": str(ROOT)}
    environment |= {f"TOKEN_{number}": bot.token for number, bot in enumerate(here.speakers)}
    return [sys.executable, "-m", "selves", "bots", "run"]


def _llmcord(here: Town, folder: Path, source: Path) -> list[str]:
    [bot] = here.speakers
    bot.message_content = True
    everybody: dict[str, list[int]] = {"allowed_ids": [], "blocked_ids": []}
    config = {
        "bot_token": bot.token,
        "use_plain_responses": True,
        "permissions": {"users": {"admin_ids": [], **everybody}, "roles": everybody, "channels": everybody},
        "providers": {"here": {"base_url": f"{here.voice_url}/v1"}},
        "models": {f"here/{AGE}": {"max_tokens": 80}},
    }
    (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
    (folder / "start.py").write_text(LLMCORD, "utf-8")
    return [sys.executable, str(folder / "start.py"), str((source / "llmcord.py").absolute()), str(ROOT)]


def _echo(here: Town, folder: Path, environment: dict[str, str]) -> list[str]:
    environment["TOKEN"] = here.speakers[0].token
    (folder / "start.py").write_text(ECHO, "utf-8")
    return [sys.executable, str(folder / "start.py"), str(ROOT)]


def _memory_mb(process: int) -> float:
    fields = Path(f"/proc/{process}/smaps_rollup").read_text().split()
    return int(fields[fields.index("Pss:") + 1]) / 1024


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, with the memory of one more self."""
    lines = ["| system | selves | p50 ms | p95 ms | turns/s | memory MB | of one more self |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    before: Row | None = None
    for row in rows:
        more = ""
        if before is not None and before.system == row.system and row.selves > before.selves:
            more = f"{(row.memory_mb - before.memory_mb) / (row.selves - before.selves):.2f}"
        figures = (
            f"{row.p50_ms:.1f} | {row.p95_ms:.1f} | {row.turns_per_s:.0f} | {row.memory_mb:.0f} | {more}"
        )
        lines.append(f"| {row.system} | {row.selves} | {figures} |")
        before = row
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    parser = make_parser("python -m benchmarks.bots", "What the bots themselves cost.", EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="folder for bots.json")
    parser.add_argument(
        "--selves", type=int, nargs="+", default=[4, 16, 64], help="how many (default: 4 16 64)"
    )
    parser.add_argument(
        "--turns", type=int, default=200, help="messages, one by one and at once (default: 200)"
    )
    parser.add_argument("--llmcord", type=Path, help="folder of llmcord, to measure it in the same run")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    rows = []
    for count in options.selves:
        rows.append(asyncio.run(measure("ours", count, options.turns, None)))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    rows.append(asyncio.run(measure("discord.py alone", 1, options.turns, None)))
    if options.llmcord:
        rows.append(asyncio.run(measure("llmcord", 1, options.turns, options.llmcord)))
    summary = {"cpu": machine.cpu_name(), "cores": machine.cores(), "rows": [row._asdict() for row in rows]}
    options.out.mkdir(parents=True, exist_ok=True)
    write_file(options.out / "bots.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
