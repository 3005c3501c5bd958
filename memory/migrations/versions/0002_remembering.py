"""People's keys and consents, feedback, scores, picks, exports, and indices over words.

People's words that were kept in plain text are sealed here, and opened again on the way back.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

INDEXED_CHARACTERS = 200_000
"""PostgreSQL refuses to index longer texts whole."""


def upgrade() -> None:
    op.create_table(
        "export",
        sa.Column("id", ID, nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("rows", ID, nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("invalid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("invalid_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
    )
    op.create_table(
        "permission",
        sa.Column("id", ID, nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permission")),
    )
    op.create_table(
        "consent",
        sa.Column("id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_consent_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index(op.f("ix_consent_person_id"), "consent", ["person_id"], unique=False)
    op.create_table(
        "person_key",
        sa.Column("person_id", ID, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=44), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_key_person_id")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person_key")),
    )
    op.create_table(
        "feedback",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("generation_id", ID, nullable=False),
        sa.Column("other_id", ID, nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("shown_first", ID, nullable=True),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_feedback_generation_id")),
        sa.ForeignKeyConstraint(["other_id"], ["generation.id"], name=op.f("fk_feedback_other_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_feedback_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("key", name=op.f("uq_feedback_key")),
    )
    op.create_index(op.f("ix_feedback_generation_id"), "feedback", ["generation_id"], unique=False)
    op.create_index(op.f("ix_feedback_other_id"), "feedback", ["other_id"], unique=False)
    op.create_index(op.f("ix_feedback_person_id"), "feedback", ["person_id"], unique=False)
    op.create_table(
        "score",
        sa.Column("generation_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_score_generation_id")),
        sa.PrimaryKeyConstraint("generation_id", "name", name=op.f("pk_score")),
    )
    op.create_table(
        "export_item",
        sa.Column("export_id", ID, nullable=False),
        sa.Column("position", ID, nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("generation_id", ID, nullable=True),
        sa.Column("other_id", ID, nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["export_id"], ["export.id"], name=op.f("fk_export_item_export_id")),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generation.id"], name=op.f("fk_export_item_generation_id")
        ),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_export_item_message_id")),
        sa.ForeignKeyConstraint(["other_id"], ["generation.id"], name=op.f("fk_export_item_other_id")),
        sa.PrimaryKeyConstraint("export_id", "position", name=op.f("pk_export_item")),
    )
    op.create_index(op.f("ix_export_item_generation_id"), "export_item", ["generation_id"], unique=False)
    op.create_index(op.f("ix_export_item_message_id"), "export_item", ["message_id"], unique=False)
    op.create_index(op.f("ix_export_item_other_id"), "export_item", ["other_id"], unique=False)
    op.create_table(
        "heard_in",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("generation_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_heard_in_generation_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_heard_in_message_id")),
        sa.PrimaryKeyConstraint("message_id", "generation_id", name=op.f("pk_heard_in")),
    )
    op.create_index(op.f("ix_heard_in_generation_id"), "heard_in", ["generation_id"], unique=False)
    op.create_table(
        "pick",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("generation_id", ID, nullable=True),
        sa.Column("start", ID, nullable=True),
        sa.Column("end", ID, nullable=True),
        sa.Column("quoted_sha256", sa.String(length=64), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("editor", sa.Text(), nullable=False),
        sa.Column("retracts", ID, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generation.id"], name=op.f("fk_pick_generation_id")),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_pick_message_id")),
        sa.ForeignKeyConstraint(["retracts"], ["pick.id"], name=op.f("fk_pick_retracts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pick")),
    )
    op.create_index(op.f("ix_pick_generation_id"), "pick", ["generation_id"], unique=False)
    op.create_index(op.f("ix_pick_message_id"), "pick", ["message_id"], unique=False)
    op.create_table(
        "visit",
        sa.Column("editor", sa.Text(), nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_visit_message_id")),
        sa.PrimaryKeyConstraint("editor", "message_id", name=op.f("pk_visit")),
    )
    op.add_column("generation", sa.Column("prompt_origins", sa.JSON(), nullable=True))
    op.add_column("generation", sa.Column("prompt_sealed_by", sa.JSON(), nullable=True))
    op.add_column("message", sa.Column("thread_id", sa.BigInteger(), nullable=True))
    op.add_column("person", sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("scene", sa.Column("from_message_id", ID, nullable=True))
    (_index_words_sqlite if op.get_bind().dialect.name == "sqlite" else _index_words_postgresql)()


def downgrade() -> None:
    _drop_words()
    op.drop_column("scene", "from_message_id")
    op.drop_column("person", "forgotten_at")
    op.drop_column("message", "thread_id")
    op.drop_column("generation", "prompt_sealed_by")
    op.drop_column("generation", "prompt_origins")
    op.drop_table("visit")
    op.drop_table("pick")
    op.drop_table("heard_in")
    op.drop_table("export_item")
    op.drop_table("score")
    op.drop_table("feedback")
    op.drop_table("person_key")
    op.drop_table("consent")
    op.drop_table("permission")
    op.drop_table("export")


READABLE = {"message": "{row}person_id IS NULL", "generation": "NOT {row}chosen"}
"""Table -> which rows of it are in the index over words: lines of selves and the operator, and samples that
became no line. What people said is sealed."""


def _index_words_sqlite() -> None:
    for table, readable in READABLE.items():
        words = f"{table}_words"
        add = f"INSERT INTO {words}(rowid, text) VALUES (new.id, new.text);"
        drop = f"INSERT INTO {words}({words}, rowid, text) VALUES ('delete', old.id, old.text);"
        old, new = readable.format(row="old."), readable.format(row="new.")
        for statement in (
            f"CREATE VIEW {table}_readable AS SELECT id, text FROM {table} WHERE {readable.format(row='')}",
            f"CREATE VIRTUAL TABLE {words} USING fts5(text, content='{table}_readable', content_rowid='id', "
            "tokenize='unicode61 remove_diacritics 2')",
            f"CREATE TRIGGER {words}_insert AFTER INSERT ON {table} WHEN {new} BEGIN {add} END",
            f"CREATE TRIGGER {words}_delete AFTER DELETE ON {table} WHEN {old} BEGIN {drop} END",
            f"CREATE TRIGGER {words}_update AFTER UPDATE OF text ON {table} WHEN {old} "
            f"BEGIN {drop} {add} END",
            f"INSERT INTO {words}({words}) VALUES ('rebuild')",
        ):
            op.execute(statement)


def _index_words_postgresql() -> None:
    for table, readable in READABLE.items():
        op.execute(
            f"CREATE INDEX {table}_words ON {table} USING gin "
            f"(to_tsvector('simple', left(text, {INDEXED_CHARACTERS}))) WHERE {readable.format(row='')}"
        )


def _drop_words() -> None:
    for table in READABLE:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"DROP INDEX {table}_words")
            continue
        for what in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER {table}_words_{what}")
        op.execute(f"DROP TABLE {table}_words")
        op.execute(f"DROP VIEW {table}_readable")
