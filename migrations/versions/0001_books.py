"""Incidents, signals' fates, ledger, audit chain, approvals, postmortems, outbox."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE incident_counters (
    day date PRIMARY KEY,
    last integer NOT NULL
);

CREATE TABLE incidents (
    id text PRIMARY KEY,
    key text NOT NULL,
    run_id text NOT NULL,
    state text NOT NULL,
    severity text NOT NULL,
    drill boolean NOT NULL,
    detected_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    body jsonb NOT NULL,
    UNIQUE (key, run_id)
);
CREATE INDEX incidents_by_key ON incidents (key, ended_at DESC);
CREATE INDEX incidents_by_time ON incidents (detected_at DESC);
CREATE INDEX incidents_open ON incidents (detected_at DESC) WHERE ended_at IS NULL;

CREATE TABLE diagnoses (
    incident_id text PRIMARY KEY REFERENCES incidents (id),
    body jsonb NOT NULL
);

CREATE TABLE signals (
    number bigserial PRIMARY KEY,
    id text NOT NULL,
    fate text NOT NULL,
    reason text NOT NULL,
    incident_key text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    body jsonb NOT NULL
);
CREATE INDEX signals_by_id ON signals (id, recorded_at DESC);
CREATE INDEX signals_by_key ON signals (incident_key, recorded_at);

CREATE TABLE ledger (
    operation_id text PRIMARY KEY,
    incident_id text NOT NULL REFERENCES incidents (id),
    attempt integer NOT NULL,
    step integer NOT NULL,
    state text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    UNIQUE (incident_id, attempt, step)
);
CREATE INDEX ledger_unfinished ON ledger (state) WHERE state IN ('intent', 'applied', 'unknown');

CREATE TABLE audit_heads (
    chain text PRIMARY KEY,
    number bigint NOT NULL,
    hash text NOT NULL
);

CREATE TABLE audit_events (
    cursor bigserial PRIMARY KEY,
    chain text NOT NULL,
    number bigint NOT NULL,
    idempotency_key text NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    body text NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL,
    UNIQUE (chain, number),
    UNIQUE (chain, idempotency_key)
);
COMMENT ON COLUMN audit_events.body IS 'canonical JSON of the entry, the text that the hash covers';

CREATE TABLE policy_violations (
    cursor bigint PRIMARY KEY REFERENCES audit_events (cursor),
    chain text NOT NULL,
    at timestamptz NOT NULL,
    rule text NOT NULL,
    detail text NOT NULL
);

CREATE TABLE approvals (
    id text PRIMARY KEY,
    incident_id text NOT NULL REFERENCES incidents (id),
    state text NOT NULL,
    requested_at timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX approvals_by_state ON approvals (state, requested_at DESC);

CREATE TABLE approval_votes (
    approval_id text NOT NULL REFERENCES approvals (id),
    person text NOT NULL,
    decision text NOT NULL,
    at timestamptz NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (approval_id, person, decision)
);

CREATE TABLE postmortems (
    id text PRIMARY KEY,
    incident_id text NOT NULL UNIQUE REFERENCES incidents (id),
    state text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    body jsonb NOT NULL
);

CREATE TABLE outbox (
    id bigserial PRIMARY KEY,
    notifier text NOT NULL,
    key text NOT NULL,
    incident_id text NOT NULL,
    body jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'refused')),
    not_before timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    reference text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    UNIQUE (notifier, key)
);
CREATE INDEX outbox_waiting ON outbox (notifier, incident_id, id) WHERE state = 'waiting';
"""

INSERT_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit rows can only be added: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_events_insert_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_violations_insert_only BEFORE UPDATE OR DELETE ON policy_violations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_violations_no_truncate BEFORE TRUNCATE ON policy_violations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app') THEN
        BEGIN
            CREATE ROLE cortexops_app NOLOGIN;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role cortexops_app cannot be created here; grants are left to the administrator';
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app') THEN
        GRANT USAGE ON SCHEMA public TO cortexops_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cortexops_app;
        REVOKE UPDATE, DELETE, TRUNCATE ON audit_events, policy_violations FROM cortexops_app;
        REVOKE DELETE ON ledger, incidents, approvals, approval_votes, audit_heads FROM cortexops_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cortexops_app;
        GRANT SELECT ON alembic_version TO cortexops_app;
        REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM cortexops_app;
    END IF;
END $$;
"""


def upgrade() -> None:
    for statements in (TABLES, INSERT_ONLY, ROLE):
        op.execute(statements)
