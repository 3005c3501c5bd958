"""The first schema: houses, checkpoints, people, scenes, generations, messages, writings."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("id", ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("age", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", ID, nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("address", "weights_sha256", name=op.f("uq_checkpoint_address_weights_sha256")),
    )
    op.create_index(op.f("ix_checkpoint_lineage"), "checkpoint", ["lineage"], unique=False)
    op.create_index(op.f("ix_checkpoint_weights_sha256"), "checkpoint", ["weights_sha256"], unique=False)
    op.create_table(
        "house",
        sa.Column("id", ID, nullable=False),
        sa.Column("house_id", sa.String(length=32), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("guests", ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_house")),
    )
    op.create_table(
        "person",
        sa.Column("id", ID, nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("user_hash", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("platform", "user_hash", name=op.f("uq_person_platform_user_hash")),
        sa.UniqueConstraint("pseudonym", name=op.f("uq_person_pseudonym")),
    )
    op.create_table(
        "scene",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("premise", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("messages", ID, nullable=False),
        sa.Column("turns", ID, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scene")),
        sa.UniqueConstraint("key", name=op.f("uq_scene_key")),
    )
    op.create_index(op.f("ix_scene_name"), "scene", ["name"], unique=False)
    op.create_table(
        "generation",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("engine_version", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("prompt_sha256", sa.String(length=64), nullable=False),
        sa.Column("prompt_message_ids", sa.JSON(), nullable=False),
        sa.Column("prompt_has_human", sa.Boolean(), nullable=False),
        sa.Column("prompt_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("finish_reason", sa.Text(), nullable=False),
        sa.Column("mean_logprob", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("scene_id", ID, nullable=True),
        sa.Column("turn", ID, nullable=True),
        sa.Column("speaker", sa.Text(), nullable=True),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["scene_id"], ["scene.id"], name=op.f("fk_generation_scene_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_index(op.f("ix_generation_address"), "generation", ["address"], unique=False)
    op.create_index(
        "ix_generation_human_prompt",
        "generation",
        ["prompt_expires_at"],
        unique=False,
        sqlite_where=sa.text("prompt_has_human AND prompt IS NOT NULL"),
        postgresql_where=sa.text("prompt_has_human AND prompt IS NOT NULL"),
    )
    op.create_index("ix_generation_scene_id_turn", "generation", ["scene_id", "turn"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", ID, nullable=False),
        sa.Column("scene_id", ID, nullable=False),
        sa.Column("sequence", ID, nullable=False),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("generation_id", ID, nullable=True),
        sa.Column("reply_to", ID, nullable=True),
        sa.Column("nonce", sa.String(length=25), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("platform_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_message_generation_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_message_person_id")),
        sa.ForeignKeyConstraint(["reply_to"], ["message.id"], name=op.f("fk_message_reply_to")),
        sa.ForeignKeyConstraint(["scene_id"], ["scene.id"], name=op.f("fk_message_scene_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("generation_id", name=op.f("uq_message_generation_id")),
        sa.UniqueConstraint("nonce", name=op.f("uq_message_nonce")),
        sa.UniqueConstraint("scene_id", "sequence", name=op.f("uq_message_scene_id_sequence")),
    )
    op.create_index(
        "ix_message_expiring",
        "message",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("expires_at IS NOT NULL AND status = 'posted'"),
        postgresql_where=sa.text("expires_at IS NOT NULL AND status = 'posted'"),
    )
    op.create_index(
        "ix_message_pending",
        "message",
        ["place"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(op.f("ix_message_person_id"), "message", ["person_id"], unique=False)
    op.create_index(
        "uq_message_platform_id",
        "message",
        ["platform_id"],
        unique=True,
        sqlite_where=sa.text("platform_id IS NOT NULL"),
        postgresql_where=sa.text("platform_id IS NOT NULL"),
    )
    op.create_table(
        "writing",
        sa.Column("id", ID, nullable=False),
        sa.Column("generation_id", ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", ID, nullable=False),
        sa.Column("addressee", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_writing_generation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_writing")),
        sa.UniqueConstraint(
            "address",
            "weights_sha256",
            "kind",
            "number",
            name=op.f("uq_writing_address_weights_sha256_kind_number"),
        ),
        sa.UniqueConstraint("generation_id", name=op.f("uq_writing_generation_id")),
    )
    house = sa.table(
        "house", sa.column("id"), sa.column("house_id"), sa.column("secret"), sa.column("guests")
    )
    op.bulk_insert(
        house, [{"id": 1, "house_id": secrets.token_hex(16), "secret": secrets.token_hex(32), "guests": 0}]
    )


def downgrade() -> None:
    op.drop_table("writing")
    op.drop_table("message")
    op.drop_table("generation")
    op.drop_table("scene")
    op.drop_table("person")
    op.drop_table("house")
    op.drop_table("checkpoint")
