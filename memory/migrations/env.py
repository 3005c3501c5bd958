"""Run by Alembic (never imported): tells it which connection and which tables."""

from __future__ import annotations

from alembic import context

from memory.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
