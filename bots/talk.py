"""`selves talk`: sit down with any age in the terminal, or ask it through a pipe. Everything said is kept."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from selves.cast import Cast, load_cast_or_empty
from selves.cli import make_parser
from selves.errors import SelvesError, UsageError
from selves.files import write_file
from selves.lineage import Address
from selves.settings import House

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from bots.parlor import Parlor
    from serving.voice import ModelInfo, Voice

log = logging.getLogger("selves.talk")

EXAMPLES = """
selves talk ember@chat-000150             chat with an age
selves talk Elder                         or with one of the cast, by name
selves talk ember@base-000000 --seed 7    the same dice every time
echo "Hi! How are you?" | selves talk Ember
"""
HELP = """\
/regen          another answer; the former one is kept too
/age ADDRESS    go on with another age, or one of the cast; /age alone says who is here
/ages           every age that can be talked with
/seed [NUMBER]  show or set what answers are drawn from
/save FILE      write the talk into a file
/quit           leave; so does Ctrl-D. Ctrl-C stops an answer"""


def main(argv: Sequence[str]) -> int | None:
    """Run `selves talk`."""
    parser = make_parser("selves talk", "Talk with any age; everything said is kept.", EXAMPLES)
    parser.add_argument("who", help="an address, such as ember@chat-000150, or a name from the cast file")
    parser.add_argument("--seed", type=int, help="draw answers from this number: the same talk every time")
    args = parser.parse_args(argv)
    house = House.from_environment()
    cast = load_cast_or_empty(house.cast_path)
    if cast is None and "@" not in args.who:
        raise UsageError(
            f"there is no cast file {house.cast_path}, so {args.who!r} is nobody's name",
            "name the file with SELVES_CAST, or give an address, such as ember@chat-000150",
        )
    return asyncio.run(_run(house, cast, args.who, args.seed))


async def _run(house: House, cast: Cast | None, who: str, seed: int | None) -> int:
    from bots.parlor import Parlor, choose_persona
    from bots.scene import find_voices
    from memory.store import open_store
    from selves.lineage import list_ages
    from serving.address import serving_address
    from serving.voice import Voice

    persona = choose_persona(cast, who)
    async with (
        open_store(house.database_url) as store,
        serving_address(house, cast, on_wait=log.info) as url,
        Voice(url, house.api_key) as voice,
    ):
        for age in list_ages(house.checkpoints):
            await store.register_age(age)
        await find_voices(voice, [persona])
        parlor = Parlor(store, voice, persona, seed=seed)
        try:
            return await _Room(parlor, voice, cast, house).receive()
        finally:
            await parlor.leave()


class _Room:
    """The terminal around one talk."""

    def __init__(self, parlor: Parlor, voice: Voice, cast: Cast | None, house: House) -> None:
        from bots.terminal import is_plain, make_console

        self.parlor, self.voice, self.cast, self.house = parlor, voice, cast, house
        self.console = make_console()
        self.interactive = sys.stdin.isatty()
        self.plain = is_plain(self.console)
        self.failed = False

    async def receive(self) -> int:
        """Read lines until there are no more; return the exit code."""
        if self.interactive:
            self.note(f"{await self.who()}\n/help shows what else you can do here, Ctrl-D leaves\n")
        async for line in self.lines():
            text = line.strip()
            if text in ("/quit", "/exit"):
                break
            try:
                if text.startswith("/"):
                    await self.obey(text)
                elif text:
                    await self.parlor.say(text)
                    await self.answer()
            except SelvesError as error:
                self.failed = True
                self.note(str(error))
        # a person has seen what went wrong and gone on; a program must be told
        return int(self.failed and not self.interactive)

    async def lines(self) -> AsyncIterator[str]:
        """Yield what is typed, line by line, until Ctrl-D; or what comes through a pipe, until it ends."""
        if not self.interactive:
            if isinstance(sys.stdin, TextIOWrapper):
                sys.stdin.reconfigure(errors="replace")
            while line := await asyncio.to_thread(sys.stdin.readline):
                yield line
            return
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import NestedCompleter
        from prompt_toolkit.history import FileHistory

        from bots.parlor import PERSON

        self.house.home.mkdir(parents=True, exist_ok=True)
        ages = dict.fromkeys(await self.voice.models())
        words = {"/regen": None, "/age": ages, "/ages": None, "/seed": None, "/save": None, "/help": None}
        session: PromptSession[str] = PromptSession(
            history=FileHistory(str(self.house.home / "talk-history")),
            completer=NestedCompleter.from_nested_dict({**words, "/quit": None}),
            complete_while_typing=False,
            reserve_space_for_menu=4,
        )
        while True:
            try:
                yield await session.prompt_async([("bold", f"{PERSON:>{self.width}}  ")])
            except KeyboardInterrupt:
                continue
            except EOFError:
                return

    async def answer(self) -> None:
        """Show the answer as it comes, and then as it stands."""
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        from memory.show import visible

        if self.plain:
            with self.stoppable():
                message = await self.parlor.answer(lambda _: None)
        else:
            waiting = self.row(Spinner("simpleDots", style="dim"))
            with Live(waiting, console=self.console, transient=True) as live, self.stoppable():
                message = await self.parlor.answer(lambda text: live.update(self.row(Text(visible(text)))))
        if message is None:
            self.note("(it said nothing)")
        elif self.plain:
            self.console.file.write(f"{visible(message.text)}\n")
            self.console.file.flush()
        else:
            self.console.print(self.row(Text(visible(message.text))))

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While the block runs, Ctrl-C stops the answer and not the program, and keys leave no marks."""
        if not self.interactive:
            yield
            return
        loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self.parlor.stop))
        try:
            with _without_echo(sys.stdin.fileno()):
                yield
        finally:
            signal.signal(signal.SIGINT, before)

    async def obey(self, text: str) -> None:
        """Carry out one command. Raises UsageError for one that there is not, or that lacks something."""
        name, _, argument = text.partition(" ")
        argument = argument.strip()
        match name:
            case "/help":
                self.note(HELP)
            case "/regen":
                await self.answer()
            case "/ages":
                self.note("\n".join(_described(info) for info in (await self.voice.models()).values()))
            case "/age":
                await self.switch(argument)
                self.note(await self.who())
            case "/seed":
                self.set_seed(argument)
            case "/save":
                await self.save(argument)
            case _:
                raise UsageError(f"there is no command {name}", "/help shows what there is")

    async def switch(self, who: str) -> None:
        """Go on with another age; the talk stays."""
        from bots.parlor import choose_persona
        from bots.scene import find_voices

        if who:
            persona = choose_persona(self.cast, who)
            await find_voices(self.voice, [persona])
            self.parlor.persona = persona

    def set_seed(self, number: str) -> None:
        if number:
            try:
                self.parlor.seed = int(number)
            except ValueError as error:
                raise UsageError(f"{number!r} is not a whole number", "such as /seed 7") from error
        seed = self.parlor.seed
        self.note("a new seed for every talk" if seed is None else f"answers are drawn from seed {seed}")

    async def save(self, name: str) -> None:
        from bots.parlor import as_text

        if not name:
            raise UsageError("/save needs a file", "such as /save talk.txt")
        messages = await self.parlor.messages()
        write_file(Path(name).expanduser(), as_text(messages))
        self.note(f"{len(messages)} lines are in {name}")

    async def who(self) -> str:
        persona = self.parlor.persona
        return f"{persona.name} is {_described(await self.voice.info(persona.address))}"

    @property
    def width(self) -> int:
        from bots.parlor import PERSON

        return max(len(self.parlor.persona.name), len(PERSON)) + 2

    def row(self, what: RenderableType) -> Table:
        from bots.terminal import row
        from memory.show import style_of

        persona = self.parlor.persona
        return row(persona.name, style_of(persona.color), what, width=self.width)

    def note(self, text: str) -> None:
        """Say something that is no part of the talk, on stderr."""
        from rich.console import Console
        from rich.text import Text

        from bots.terminal import is_plain

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        if is_plain(console):
            print(text, file=sys.stderr, flush=True)
        else:
            console.print(Text(text, style="dim"))


@contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    """Keep a terminal from showing what is typed; what was typed is read by whoever reads next."""
    import termios

    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _described(info: ModelInfo) -> str:
    address = Address.parse(info.address)
    newborn = (
        ", random weights: it has read nothing yet" if address.stage == "base" and not address.step else ""
    )
    return f"{info.address} ({info.form}, reads {info.context_tokens} tokens{newborn})"
