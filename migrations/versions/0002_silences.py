"""Silences and maintenance windows."""

from __future__ import annotations

from alembic import op

revision = "0002_silences"
down_revision = "0001_books"

TABLES = """
CREATE TABLE silences (
    id text PRIMARY KEY,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    lifted_at timestamptz,
    body jsonb NOT NULL
);
CREATE INDEX silences_in_force ON silences (ends_at) WHERE lifted_at IS NULL;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
