"""People's keys and consents, feedback, scores, picks, exports, and indices over words.

People's words that were kept in plain text are sealed here, and opened again on the way back.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

from memory.migrations import people_0002

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

INDEXED_CHARACTERS = 200_000
"""PostgreSQL refuses to index longer texts whole."""

PARTIAL = (
    (
        "generation",
        "ix_generation_open_prompt",
        "id",
        "prompt_has_human AND prompt IS NOT NULL AND prompt_sealed_by IS NULL",
    ),
    ("scene", "ix_scene_branch", "from_message_id", "from_message_id IS NOT NULL"),
)
"""Indices over few rows: table, name, column, which rows."""


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
    for table, name, column, only in PARTIAL:
        op.create_index(name, table, [column], sqlite_where=sa.text(only), postgresql_where=sa.text(only))
    people_0002.seal(op.get_bind())
    op.create_index(
        "ix_message_people",
        "message",
        ["id"],
        sqlite_where=sa.text("person_id IS NOT NULL"),
        postgresql_where=sa.text("person_id IS NOT NULL"),
    )
    (_index_words_sqlite if op.get_bind().dialect.name == "sqlite" else _index_words_postgresql)()


def downgrade() -> None:
    _drop_words()
    people_0002.unseal(op.get_bind())
    for table, name, *_ in PARTIAL:
        op.drop_index(name, table)
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


class Words(NamedTuple):
    """What of a table's rows is in the index over words, and which facts beside their text."""

    readable: str
    """Which rows: lines of selves and the operator, and samples that became no line. What people said is
    sealed."""
    at: str
    kind: str
    columns: str
    """Whoever changes one of these changes the index."""


WORDS = {
    "message": Words(
        "{row}person_id IS NULL",
        "{row}created_at",
        "{row}origin",
        "text, person_id, address, speaker, origin, created_at",
    ),
    "generation": Words(
        "NOT {row}chosen",
        "{row}started_at",
        "{row}kind",
        "text, chosen, address, speaker, kind, started_at",
    ),
}

FACTS_SQLITE = (
    "'a' || hex({row}address) "
    "|| ' l' || hex(substr({row}address, 1, instr({row}address, '@') - 1)) "
    "|| ' s' || hex({row}speaker) || ' k' || hex({kind}) "
    "|| ' m' || strftime('%Y%m', {at}) || ' y' || strftime('%Y', {at})"
)
"""One word per fact, so that a filter is one more word to look for."""


def _separators() -> str:
    """What ends a word in any language, as a regular expression: all but letters and digits.

    PostgreSQL then sees no addresses, paths and numbers with signs in a text, only words.
    """
    kept = [code for code in range(0x80, 0x110000) if unicodedata.category(chr(code))[0] in "LN"]
    ends = [code for code, after in zip(kept, [*kept[1:], 0], strict=True) if after != code + 1]
    begins = [code for code, before in zip(kept, [0, *kept[:-1]], strict=True) if before != code - 1]
    spans = (f"\\U{begin:08x}-\\U{end:08x}" for begin, end in zip(begins, ends, strict=True))
    return f"[^a-zA-Z0-9{''.join(spans)}]+"


WORDS_POSTGRESQL = r"""
CREATE FUNCTION selves_words(text text, address text, speaker text, kind text, at timestamptz)
RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL RESTRICTED AS $$
    SELECT to_tsvector('simple', CASE
            WHEN octet_length(text) = length(text)
                THEN regexp_replace(left(text, :characters), '[^a-zA-Z0-9\s]+', ' ', 'g')
            ELSE replace(regexp_replace(regexp_replace(normalize(regexp_replace(normalize(
                left(text, :characters), NFD), '([a-zA-Z])[\u0300-\u036f]+', '\1', 'g'), NFC),
                '[\u0300-\u036f]+', '', 'g'), ':separators', ' ', 'g'), 'ς', 'σ') END)
        || array_to_tsvector(ARRAY[
            '@a' || coalesce(address, ''),
            '@l' || split_part(coalesce(address, ''), '@', 1),
            '@s' || left(coalesce(speaker, ''), 200),
            '@k' || coalesce(kind, ''),
            '@m' || (extract(year FROM timezone('UTC', at)) * 100
                + extract(month FROM timezone('UTC', at)))::int,
            '@y' || extract(year FROM timezone('UTC', at))::int])
$$"""
"""The same words as on SQLite: letters and digits, without the accents on a to z; and the same facts. Most
texts are ASCII, for which little is to be done.

Not to be asked by several workers at once: a search takes the newest rows first from the first part of its
statement, which such workers would not wait for.
"""


def _index_words_sqlite() -> None:
    for table, (readable, at, kind, columns) in WORDS.items():
        words = f"{table}_words"

        def of(what: str, row: str, at: str = at, kind: str = kind) -> str:
            return what.format(row=row, at=at.format(row=row), kind=kind.format(row=row))

        old, new, facts = of(readable, "old."), of(readable, "new."), FACTS_SQLITE
        add = f"INSERT INTO {words}(rowid, text, facts) VALUES (new.id, new.text, {of(facts, 'new.')});"
        drop = (
            f"INSERT INTO {words}({words}, rowid, text, facts) "
            f"VALUES ('delete', old.id, old.text, {of(facts, 'old.')});"
        )
        for statement in (
            f"CREATE VIEW {table}_readable AS SELECT id, text, {of(facts, '')} AS facts "
            f"FROM {table} WHERE {of(readable, '')}",
            f"CREATE VIRTUAL TABLE {words} USING fts5(text, facts, content='{table}_readable', "
            "content_rowid='id', tokenize='unicode61 remove_diacritics 2')",
            f"CREATE TRIGGER {words}_insert AFTER INSERT ON {table} WHEN {new} BEGIN {add} END",
            f"CREATE TRIGGER {words}_delete AFTER DELETE ON {table} WHEN {old} BEGIN {drop} END",
            f"CREATE TRIGGER {words}_before BEFORE UPDATE OF {columns} ON {table} WHEN {old} "
            f"BEGIN {drop} END",
            f"CREATE TRIGGER {words}_after AFTER UPDATE OF {columns} ON {table} WHEN {new} BEGIN {add} END",
            f"INSERT INTO {words}({words}) VALUES ('rebuild')",
        ):
            op.execute(statement)


def _index_words_postgresql() -> None:
    words = WORDS_POSTGRESQL.replace(":characters", str(INDEXED_CHARACTERS))
    op.get_bind().exec_driver_sql(words.replace(":separators", _separators()))
    for table, (readable, at, kind, _) in WORDS.items():
        # without it new rows wait in a list that every search reads through
        op.execute(
            f"CREATE INDEX {table}_words ON {table} USING gin (selves_words("
            f"text, address, speaker, {kind}, {at})) WITH (fastupdate = off) WHERE {readable}".format(row="")
        )


def _drop_words() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in WORDS:
            op.execute(f"DROP INDEX {table}_words")
        op.execute("DROP FUNCTION selves_words")
        return
    for table in WORDS:
        for what in ("insert", "delete", "before", "after"):
            op.execute(f"DROP TRIGGER {table}_words_{what}")
        op.execute(f"DROP TABLE {table}_words")
        op.execute(f"DROP VIEW {table}_readable")
