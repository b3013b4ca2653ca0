"""What people said of a diagnosis."""

from __future__ import annotations

from alembic import op

revision = "0005_feedback"
down_revision = "0004_switches"

TABLES = """
CREATE TABLE feedback (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    incident_id text NOT NULL REFERENCES incidents (id),
    cluster text NOT NULL,
    undoes text UNIQUE REFERENCES feedback (id),
    body jsonb NOT NULL
);
CREATE INDEX feedback_by_cluster ON feedback (cluster, number DESC);
CREATE INDEX feedback_by_incident ON feedback (incident_id, number);
COMMENT ON TABLE feedback IS 'what people said of diagnoses; a word is taken back by a further row';

CREATE TRIGGER feedback_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON feedback
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE feedback ENABLE ALWAYS TRIGGER feedback_insert_only;
"""


def upgrade() -> None:
    if TABLES:
        op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
