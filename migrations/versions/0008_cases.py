"""Cases that memory is to keep, stored with the end of their incident."""

from __future__ import annotations

from alembic import op

revision = "0008_cases"
down_revision = "0007_seen_requests"

TABLES = """
CREATE TABLE cases (
    incident_id text PRIMARY KEY REFERENCES incidents (id),
    body jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'remembered', 'refused')),
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT clock_timestamp(),
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX cases_waiting ON cases (not_before) WHERE state = 'waiting';
COMMENT ON TABLE cases IS 'what memory is to know of solved incidents; waiting until it does';
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
