"""Daily anchors of the audit trail, archives of old rows, and what the sweeper has looked at."""

from __future__ import annotations

from alembic import op

revision = "0006_anchors"
down_revision = "0005_feedback"

TABLES = """
CREATE TABLE anchors (
    day date PRIMARY KEY,
    number bigint NOT NULL UNIQUE,
    cursor bigint NOT NULL,
    body text NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE anchors IS 'one a UTC day: the heads of the chains touched since the anchor before, and its hash';
COMMENT ON COLUMN anchors.cursor IS 'the last row of audit_events that it covers';
COMMENT ON COLUMN anchors.body IS 'canonical JSON; hash is the SHA-256 of exactly this text';

CREATE TABLE archives (
    digest text PRIMARY KEY,
    name text NOT NULL,
    rows bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN archives.digest IS 'SHA-256 of the file';

CREATE TABLE archive_checkpoints (
    chain text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    hash text NOT NULL,
    rows bigint NOT NULL,
    archive text NOT NULL REFERENCES archives (digest),
    PRIMARY KEY (chain, number)
);
COMMENT ON TABLE archive_checkpoints IS 'the last row of a chain that went into an archive: what stays follows it';

-- Violations stay when the rows that they were told in go into an archive.
ALTER TABLE policy_violations DROP CONSTRAINT policy_violations_cursor_fkey;

ALTER TABLE ledger ADD COLUMN swept_at timestamptz;
COMMENT ON COLUMN ledger.swept_at IS 'since then it is in the hands of people: its workflow ended before it was settled';
CREATE INDEX ledger_orphans ON ledger (incident_id) WHERE state IN ('intent', 'applied') AND swept_at IS NULL;
"""

# SECURITY DEFINER: nobody but the owner may delete events, so that this function is the only way.
FUNCTIONS = """
CREATE FUNCTION anchor_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    PERFORM pg_advisory_xact_lock(7021969);
    SELECT number, cursor, day, hash INTO last FROM anchors ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1
       OR NEW.previous_hash <> coalesce(last.hash, repeat('0', 64))
       OR NEW.day <= coalesce(last.day, DATE '-infinity')
       OR NEW.day >= (now() AT TIME ZONE 'UTC')::date
       OR NEW.cursor < coalesce(last.cursor, 0)
       OR NEW.hash <> encode(sha256(convert_to(NEW.body, 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'anchor % of the audit trail does not follow the one before it, or its day has not ended', NEW.day
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION audit_guard_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM archive_checkpoints c WHERE c.chain = OLD.chain AND c.number >= OLD.number) THEN
        RAISE EXCEPTION 'audit rows can only be added: DELETE on audit_events is refused, for it is in no archive'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION audit_prune(archive text, name text, chains text[], numbers bigint[], hashes text[])
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    wanted record;
    begun bigint;
    held bigint;
    anchored bigint;
    gone bigint := 0;
BEGIN
    PERFORM FROM audit_heads h WHERE h.chain = ANY(chains) ORDER BY h.chain FOR UPDATE;
    SELECT max(a.cursor) INTO anchored FROM anchors a;
    INSERT INTO archives (digest, name, rows) VALUES (archive, name, 0);
    FOR wanted IN SELECT * FROM unnest(chains, numbers, hashes) AS w (chain, number, hash) LOOP
        SELECT coalesce(max(c.number), 0) INTO begun FROM archive_checkpoints c WHERE c.chain = wanted.chain;
        SELECT count(*) INTO held FROM audit_events e
            WHERE e.chain = wanted.chain AND e.number > begun AND e.number <= wanted.number
              AND e.cursor <= anchored;
        IF held <> wanted.number - begun OR held = 0
           OR NOT EXISTS (SELECT FROM audit_events e WHERE e.chain = wanted.chain
                          AND e.number = wanted.number AND e.hash = wanted.hash)
           OR NOT EXISTS (SELECT FROM incidents i WHERE i.id = wanted.chain AND i.ended_at IS NOT NULL) THEN
            RAISE EXCEPTION 'audit rows of % cannot go: an incident has to have ended, its rows to be whole and anchored',
                wanted.chain USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        INSERT INTO archive_checkpoints VALUES (wanted.chain, wanted.number, wanted.hash, held, archive);
        DELETE FROM audit_events e WHERE e.chain = wanted.chain AND e.number <= wanted.number;
        gone := gone + held;
    END LOOP;
    UPDATE archives a SET rows = gone WHERE a.digest = archive;
    RETURN gone;
END $$;
COMMENT ON FUNCTION audit_prune IS
    'moves no row that is not the unbroken beginning of an ended, anchored chain; leaves a checkpoint of each';

CREATE FUNCTION archive_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.rows <> 0 OR NEW.digest <> OLD.digest OR NEW.name <> OLD.name OR NEW.at <> OLD.at THEN
        RAISE EXCEPTION 'audit rows can only be added: UPDATE on archives is refused'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
"""

TRIGGERS = """
DROP TRIGGER audit_events_insert_only ON audit_events;
CREATE TRIGGER audit_events_insert_only BEFORE UPDATE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_events_kept BEFORE DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_guard_delete();
CREATE TRIGGER anchors_follow BEFORE INSERT ON anchors
    FOR EACH ROW EXECUTE FUNCTION anchor_follows();
CREATE TRIGGER anchors_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON anchors
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER archives_counted BEFORE UPDATE ON archives
    FOR EACH ROW EXECUTE FUNCTION archive_count();
CREATE TRIGGER archives_insert_only BEFORE DELETE OR TRUNCATE ON archives
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER archive_checkpoints_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON archive_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: they hold in sessions, too, that switch ordinary triggers off for replication
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_insert_only;
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_kept;
ALTER TABLE anchors ENABLE ALWAYS TRIGGER anchors_follow;
ALTER TABLE anchors ENABLE ALWAYS TRIGGER anchors_insert_only;
ALTER TABLE archives ENABLE ALWAYS TRIGGER archives_counted;
ALTER TABLE archives ENABLE ALWAYS TRIGGER archives_insert_only;
ALTER TABLE archive_checkpoints ENABLE ALWAYS TRIGGER archive_checkpoints_insert_only;
"""


def upgrade() -> None:
    for statements in (TABLES, FUNCTIONS, TRIGGERS):
        op.execute(statements)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
