"""How the double's records look on the wire: pure functions from a record to Discord's JSON.

Ids are strings; an optional object that is not there is left out instead of being null, except where
Discord itself sends null. `tests/discord_double/test_contract.py` holds these against Discord's own
OpenAPI document.
"""

from __future__ import annotations

from datetime import datetime

from tests.discord_double.state import (
    EVERYONE,
    MESSAGE_CONTENT_LIMITED_FLAG,
    Bot,
    Channel,
    File,
    Interaction,
    Json,
    Message,
    User,
    World,
)


def _time(moment: datetime) -> str:
    return moment.isoformat()


def user_json(user: User) -> Json:
    body: Json = {
        "id": str(user.id),
        "username": user.name.casefold().replace(" ", "_"),
        "global_name": user.name,
        "discriminator": "0",
        "avatar": None,
        "public_flags": 0,
        "flags": 0,
        "primary_guild": None,
    }
    if user.webhook:
        body["username"] = user.name
    return {**body, "bot": True} if user.bot else body


def me_json(bot: Bot) -> Json:
    return {**user_json(bot.user), "mfa_enabled": False, "locale": "en-US", "verified": True}


def application_flags(bot: Bot) -> int:
    return MESSAGE_CONTENT_LIMITED_FLAG if bot.message_content else 0


def application_json(world: World, bot: Bot) -> Json:
    return {
        "id": str(bot.id),
        "name": bot.user.name,
        "icon": None,
        "description": "",
        "type": None,
        "verify_key": "00" * 32,
        "flags": application_flags(bot),
        "flags_new": str(application_flags(bot)),
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user_json(world.owner),
        "bot_public": True,
        "bot_require_code_grant": False,
        "approximate_guild_count": 1,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "team": None,
        "eligible_oauth2_scopes": [],
    }


def member_json(world: World, user: User, *, with_user: bool = True) -> Json:
    body: Json = {
        "avatar": None,
        "banner": None,
        "communication_disabled_until": None,
        "flags": 0,
        "joined_at": "2026-01-01T00:00:00+00:00",
        "nick": None,
        "pending": False,
        "premium_since": None,
        "roles": [],
        "mute": False,
        "deaf": False,
    }
    return {**body, "user": user_json(user)} if with_user else body


def role_json(world: World) -> Json:
    """The only role: @everyone, whose id is the guild's."""
    return {
        "id": str(world.guild_id),
        "name": "@everyone",
        "permissions": str(EVERYONE),
        "position": 0,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def private_json(channel: Channel) -> Json:
    """A private conversation, as its bot is told of it."""
    return {
        "id": str(channel.id),
        "type": 1,
        "flags": 0,
        "recipients": [user_json(user) for user in channel.between if not user.bot],
        "last_message_id": str(max(channel.messages)) if channel.messages else None,
    }


def thread_json(world: World, thread: Channel) -> Json:
    assert thread.parent is not None
    assert thread.owner is not None
    return {
        "id": str(thread.id),
        "type": 11,
        "flags": 0,
        "guild_id": str(world.guild_id),
        "parent_id": str(thread.parent.id),
        "owner_id": str(thread.owner.id),
        "name": thread.name,
        "last_message_id": str(max(thread.messages)) if thread.messages else None,
        "rate_limit_per_user": 0,
        "message_count": len(thread.messages),
        "member_count": 1,
        "total_message_sent": len(thread.messages),
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": "2026-01-01T00:00:00+00:00",
            "locked": False,
        },
    }


def channel_json(world: World, channel: Channel) -> Json:
    if channel.between:
        return private_json(channel)
    if channel.parent is not None:
        return thread_json(world, channel)
    return {
        "id": str(channel.id),
        "type": 0,
        "flags": 0,
        "guild_id": str(world.guild_id),
        "name": channel.name,
        "position": 0,
        "permission_overwrites": [
            {"id": str(user), "type": 1, "allow": "0", "deny": str(bits)}
            for user, bits in channel.denied.items()
        ],
        "nsfw": channel.nsfw,
        "topic": None,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "last_message_id": str(max(channel.messages)) if channel.messages else None,
    }


def guild_json(world: World) -> Json:
    absent = (
        "icon description home_header splash discovery_splash banner application_id afk_channel_id"
        " system_channel_id widget_channel_id max_presences vanity_url_code rules_channel_id"
        " safety_alerts_channel_id public_updates_channel_id incidents_data"
    )
    return {
        **dict.fromkeys(absent.split()),
        "id": str(world.guild_id),
        "name": "The House",
        "owner_id": str(world.owner.id),
        "roles": [role_json(world)],
        "emojis": [],
        "stickers": [],
        "features": [],
        "region": "deprecated",
        "afk_timeout": 300,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "verification_level": 0,
        "default_message_notifications": 0,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_members": 500_000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
    }


def guild_create_json(world: World, bot: Bot) -> Json:
    """GUILD_CREATE: the guild, and what only the gateway sends. Of the members, only the bot itself."""
    return {
        **guild_json(world),
        "channels": [
            channel_json(world, c) for c in world.channels.values() if not c.between and not c.parent
        ],
        "threads": [thread_json(world, c) for c in world.channels.values() if c.parent],
        "members": [member_json(world, bot.user)],
        "member_count": len(world.users),
        "voice_states": [],
        "presences": [],
        "large": False,
        "unavailable": False,
        "joined_at": "2026-01-01T00:00:00+00:00",
    }


def message_json(world: World, message: Message, viewer: User, *, nested: bool = False) -> Json:
    """One message as `viewer` gets it from REST. A reply carries what it replies to, one level deep."""
    body: Json = {
        "id": str(message.id),
        "channel_id": str(message.channel.id),
        "type": 19 if message.reply_to_id else 20 if message.interaction else 0,
        "author": user_json(message.author),
        "content": message.content,
        "timestamp": _time(message.created_at),
        "edited_timestamp": _time(message.edited_at) if message.edited_at else None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [user_json(user) for user in message.mentions],
        "mention_roles": [],
        "attachments": [file_json(world, file) for file in message.files],
        "embeds": [],
        "components": message.components,
        "pinned": False,
        "flags": message.flags,
    }
    if message.reactions:
        body["reactions"] = [
            {
                "emoji": {"id": None, "name": emoji},
                "count": len(users),
                "count_details": {"burst": 0, "normal": len(users)},
                "burst_colors": [],
                "me_burst": False,
                "me": viewer in users,
            }
            for emoji, users in message.reactions.items()
        ]
    if message.reply_to_id:
        body["message_reference"] = {
            "type": 0,
            "channel_id": str(message.channel.id),
            "guild_id": str(world.guild_id),
            "message_id": str(message.reply_to_id),
        }
        replied = message.channel.messages.get(message.reply_to_id)
        if not nested:
            body["referenced_message"] = (
                message_json(world, replied, viewer, nested=True) if replied else None
            )
    if message.author.webhook:
        body["webhook_id"] = str(message.author.id)
    if message.interaction:
        body["application_id"] = body["webhook_id"] = str(message.interaction.bot.id)
        body["interaction_metadata"] = {
            "id": str(message.interaction.id),
            "type": 2,
            "user": user_json(message.interaction.user),
            "authorizing_integration_owners": {"0": str(world.guild_id)},
            "name": message.interaction.data.get("name", ""),
            "command_type": 1,
        }
    return body


def file_json(world: World, file: File) -> Json:
    url = f"{world.cdn}/attachments/{file.id}/{file.name}"
    kind = "text/plain; charset=utf-8" if file.name.endswith(".txt") else "application/octet-stream"
    body = {"id": str(file.id), "filename": file.name, "size": len(file.body), "content_type": kind}
    return {**body, "url": url, "proxy_url": url}


def message_event_json(world: World, message: Message, receiver: Bot, *, with_content: bool) -> Json:
    """MESSAGE_CREATE and MESSAGE_UPDATE; without the intent, only one's own and mentioned content shows."""
    body = message_json(world, message, receiver.user)
    if not with_content and not message.channel.between:
        for shown in (message, message.channel.messages.get(message.reply_to_id or 0)):
            if shown and shown.author is not receiver.user and receiver.user not in shown.mentions:
                part = body if shown is message else body.get("referenced_message")
                if part:
                    part |= {"content": "", "attachments": [], "components": []}
    body |= world.guild_part(message.channel)
    if message.interaction is None and not message.author.webhook and not message.channel.between:
        body["member"] = member_json(world, message.author, with_user=False)
    if message.nonce is not None:
        body["nonce"] = message.nonce
    return body


def interaction_json(world: World, interaction: Interaction) -> Json:
    channel, target = interaction.channel, interaction.message
    body = _interaction_json(world, interaction)
    if channel.between:
        for key in ("guild_id", "guild", "guild_locale", "member"):
            del body[key]
        body |= {"user": user_json(interaction.user), "context": 1, "authorizing_integration_owners": {}}
        body["data"].pop("guild_id", None)
    if target is not None:
        shown = message_json(world, target, interaction.bot.user)
        if interaction.type == 3:
            body["message"] = shown
        else:
            body["data"] = {**body["data"], "resolved": {"messages": {str(target.id): shown}}}
    return body


def _interaction_json(world: World, interaction: Interaction) -> Json:
    channel = interaction.channel
    return {
        "id": str(interaction.id),
        "application_id": str(interaction.bot.id),
        "type": interaction.type,
        "token": interaction.token,
        "version": 1,
        "channel_id": str(channel.id),
        "channel": channel_json(world, channel),
        "guild_id": str(world.guild_id),
        "guild": {"id": str(world.guild_id), "locale": "en-US", "features": []},
        "member": {
            **member_json(world, interaction.user),
            "permissions": str(world.permissions(interaction.user, channel)),
        },
        "data": interaction.data,
        "locale": "en-US",
        "guild_locale": "en-US",
        "entitlements": [],
        "attachment_size_limit": 10 << 20,
        "authorizing_integration_owners": {"0": str(world.guild_id)},
        "context": 0,
        "app_permissions": str(world.permissions(interaction.bot.user, channel)),
    }


def callback_json(interaction: Interaction, kind: int, message: Json | None) -> Json:
    """The answer to an interaction callback that asked `with_response`."""
    shown = kind in (4, 5)
    body: Json = {
        "interaction": {
            "id": str(interaction.id),
            "type": interaction.type,
            "channel_id": str(interaction.channel.id),
            **(
                {
                    "response_message_id": message["id"],
                    "response_message_loading": kind == 5,
                    "response_message_ephemeral": bool(message["flags"] & 64),
                }
                if shown and message
                else {}
            ),
        }
    }
    if shown and message:
        body["resource"] = {"type": kind, "message": message}
    return body
