"""Kill switches and the autonomy ladder."""

from __future__ import annotations

from alembic import op

revision = "0004_switches"
down_revision = "0003_partitions"

TABLES = """
CREATE TABLE stops (
    id text PRIMARY KEY,
    since timestamptz NOT NULL,
    until timestamptz,
    resumed_at timestamptz,
    body jsonb NOT NULL
);
CREATE INDEX stops_in_force ON stops (since) WHERE resumed_at IS NULL;
COMMENT ON TABLE stops IS 'the kill switch: what people have stopped';

CREATE TABLE autonomy_overrides (
    id text PRIMARY KEY,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    cleared_at timestamptz,
    body jsonb NOT NULL
);
CREATE INDEX autonomy_overrides_in_force ON autonomy_overrides (until) WHERE cleared_at IS NULL;

CREATE TABLE remediation_slots (
    incident_id text PRIMARY KEY REFERENCES incidents (id),
    expires_at timestamptz NOT NULL,
    body jsonb NOT NULL
);
COMMENT ON TABLE remediation_slots IS 'who may act now and who waits; free when the incident ends or the lease';

CREATE TABLE policy_revisions (
    engine text PRIMARY KEY,
    revision text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE policy_revisions IS 'under which revision each engine decided last';

CREATE INDEX audit_decisions ON audit_events (at) WHERE type IN ('policy_decided', 'policy_violation');
CREATE INDEX ledger_outcomes ON ledger
    ((body #>> '{action,target,cluster}'), (body #>> '{action,target,namespace}'), (body #>> '{action,type}'),
     updated_at);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
