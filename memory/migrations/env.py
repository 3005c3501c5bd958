"""Run by Alembic (never imported): tells it which connection and which tables."""

from __future__ import annotations

from alembic import context

from memory.models import Base, is_of_the_models

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    include_object=is_of_the_models,
)
with context.begin_transaction():
    context.run_migrations()
