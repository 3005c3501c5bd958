"""Webhooks of channels: made by a bot that may, used by whoever knows the address. They know no nonces."""

from __future__ import annotations

from dataclasses import dataclass

from tests.discord_double.state import Bot, Channel, Json, Message, User, World


@dataclass(frozen=True)
class Webhook:
    id: int
    token: str
    name: str
    channel: Channel
    owner: Bot


class Webhooks:
    """All webhooks of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.all: dict[int, Webhook] = {}

    def of_channel(self, channel: Channel) -> list[Webhook]:
        return [hook for hook in self.all.values() if hook.channel is channel]

    def add(self, channel: Channel, owner: Bot, name: str) -> Webhook:
        number = self._world.new_id()
        self.all[number] = Webhook(number, f"webhook-secret-{number:064d}", name, channel, owner)
        return self.all[number]

    def find(self, number: str, token: str) -> Webhook | None:
        hook = self.all.get(int(number))
        return hook if hook and hook.token == token else None

    def post(self, hook: Webhook, body: Json, content: str) -> Message:
        """A message under the name that it asks for; mentions only show."""
        author = User(hook.id, body.get("username") or hook.name, bot=True, webhook=True)
        return self._world.post(author, hook.channel, content, may_mention=lambda _: False)


def webhook_json(world: World, hook: Webhook) -> Json:
    return {
        "id": str(hook.id),
        "type": 1,
        "guild_id": str(world.guild_id),
        "channel_id": str(hook.channel.id),
        "application_id": str(hook.owner.id),
        "name": hook.name,
        "avatar": None,
        "token": hook.token,
        "url": f"https://discord.com/api/webhooks/{hook.id}/{hook.token}",
    }
