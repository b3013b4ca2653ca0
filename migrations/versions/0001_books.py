"""Incidents, signals' fates, ledger, audit chain, approvals, postmortems, outbox."""

from __future__ import annotations

from alembic import op

revision = "0001_books"
down_revision = None

TABLES = """
CREATE TABLE incident_counters (
    day date PRIMARY KEY,
    last integer NOT NULL
);
COMMENT ON TABLE incident_counters IS 'the last number given out on a day; never goes back';

CREATE TABLE incidents (
    id text PRIMARY KEY,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
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
CREATE INDEX incidents_by_time ON incidents (detected_at DESC, ordinal DESC);
CREATE INDEX incidents_open ON incidents (detected_at DESC) WHERE ended_at IS NULL;

CREATE TABLE diagnoses (
    incident_id text PRIMARY KEY REFERENCES incidents (id),
    body jsonb NOT NULL
);

CREATE TABLE signals (
    id text PRIMARY KEY,
    body jsonb NOT NULL
);

CREATE TABLE signal_fates (
    signal_id text NOT NULL REFERENCES signals (id),
    number integer NOT NULL,
    fate text NOT NULL,
    reason text NOT NULL,
    incident_key text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (signal_id, number)
);
CREATE INDEX signal_fates_by_key ON signal_fates (incident_key, recorded_at);
COMMENT ON COLUMN signal_fates.number IS '1 for the first fate; more when it fires on into a later incident';

CREATE TABLE incident_signals (
    incident_id text NOT NULL REFERENCES incidents (id),
    signal_id text NOT NULL REFERENCES signals (id),
    PRIMARY KEY (incident_id, signal_id)
);
CREATE INDEX incident_signals_by_signal ON incident_signals (signal_id);
COMMENT ON TABLE incident_signals IS 'the signals that an incident was opened with';

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

CREATE TABLE approvals (
    id text PRIMARY KEY,
    incident_id text NOT NULL REFERENCES incidents (id),
    state text NOT NULL,
    requested_at timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX approvals_by_state ON approvals (state, requested_at DESC);

CREATE TABLE approval_votes (
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    approval_id text NOT NULL REFERENCES approvals (id),
    person text NOT NULL,
    decision text NOT NULL,
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
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
CREATE INDEX outbox_threads ON outbox (notifier, incident_id, id) WHERE state = 'delivered' AND reference <> '';
COMMENT ON COLUMN outbox.not_before IS 'until then it is leased to a sender, or waits for its next try';
"""

AUDIT = """
CREATE TABLE audit_heads (
    chain text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE audit_heads IS 'where each chain ends: shows when rows were cut off';

CREATE TABLE audit_events (
    cursor bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain text COLLATE "C" NOT NULL,
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
COMMENT ON COLUMN audit_events.body IS
    'canonical JSON of the entry with number and previous_hash: hash is the SHA-256 of exactly this text';

CREATE TABLE policy_violations (
    cursor bigint PRIMARY KEY REFERENCES audit_events (cursor),
    chain text NOT NULL,
    at timestamptz NOT NULL,
    rule text NOT NULL,
    detail text NOT NULL
);
"""

# SECURITY DEFINER: the application's role may add events but not move a head; only these functions do.
FUNCTIONS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit rows can only be added: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION audit_lock_heads(wanted text[])
RETURNS TABLE (chain text, number bigint, hash text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7021967);
    INSERT INTO audit_heads (chain, number, hash)
        SELECT DISTINCT w COLLATE "C", 0, repeat('0', 64) FROM unnest(wanted) AS w ORDER BY 1
        ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT h.chain, h.number, h.hash FROM audit_heads h
        WHERE h.chain = ANY(wanted) ORDER BY h.chain FOR UPDATE;
END $$;
COMMENT ON FUNCTION audit_lock_heads IS
    'locks the heads in one order for all writers; the shared lock lets an export wait for writers under way';

CREATE FUNCTION audit_advance_head() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE audit_heads SET number = NEW.number, hash = NEW.hash
        WHERE chain = NEW.chain AND number = NEW.number - 1 AND hash = NEW.previous_hash;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'audit event % does not follow the head of chain %', NEW.number, NEW.chain
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION audit_guard_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 2 OR NEW.chain <> OLD.chain OR NEW.number <> OLD.number + 1 THEN
        RAISE EXCEPTION 'the head of an audit chain moves only with a new event'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
"""

TRIGGERS = """
CREATE TRIGGER audit_events_advance BEFORE INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_advance_head();
CREATE TRIGGER audit_events_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_violations_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_violations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_heads_guard BEFORE UPDATE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION audit_guard_head();
CREATE TRIGGER audit_heads_kept BEFORE DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: they hold in sessions, too, that switch ordinary triggers off for replication
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_advance;
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_insert_only;
ALTER TABLE policy_violations ENABLE ALWAYS TRIGGER policy_violations_insert_only;
ALTER TABLE audit_heads ENABLE ALWAYS TRIGGER audit_heads_guard;
ALTER TABLE audit_heads ENABLE ALWAYS TRIGGER audit_heads_kept;
"""


def upgrade() -> None:
    for statements in (TABLES, AUDIT, FUNCTIONS, TRIGGERS):
        op.execute(statements)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
