"""The roles of the database: the application's may add audit rows, but not change or remove them.

A second one, the archivist's, may besides call the one function that moves old rows into an archive. A login
that is no member of it cannot prune.
"""

from __future__ import annotations

ROLE = "cortexops_app"
ARCHIVIST = "cortexops_archivist"

GRANTS = (
    # Creating it needs a right that the migrating user may lack: then an administrator makes the role, and
    # the next migration grants what it needs.
    """
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['cortexops_app', 'cortexops_archivist'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'role % cannot be created by %', wanted, current_user;
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)
           AND NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            BEGIN
                EXECUTE format('GRANT %I TO %I', wanted, current_user);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE '% cannot become a member of %', current_user, wanted;
            END;
        END IF;
    END LOOP;
END $$
""",
    """
DO $$
DECLARE
    place text := quote_ident(current_schema());
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app') THEN
        RETURN;
    END IF;
    EXECUTE 'GRANT USAGE ON SCHEMA ' || place || ' TO cortexops_app';
    GRANT SELECT ON audit_heads, archives, archive_checkpoints TO cortexops_app;
    GRANT SELECT, INSERT ON anchors TO cortexops_app;
    GRANT SELECT ON SEQUENCE audit_events_cursor_seq TO cortexops_app;
    GRANT SELECT, INSERT ON audit_events, policy_violations, signals, signal_log,
        incident_signals, approval_votes, feedback TO cortexops_app;
    GRANT SELECT, INSERT, UPDATE ON incident_counters, incidents, diagnoses, ledger, approvals,
        postmortems, outbox, cases, silences, partitions, fate_counts, stops, autonomy_overrides,
        policy_revisions TO cortexops_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON correlators, remediation_slots TO cortexops_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON seen_requests TO cortexops_app;
    GRANT SELECT ON alembic_version TO cortexops_app;
    REVOKE EXECUTE ON FUNCTION audit_lock_heads(text[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION audit_lock_heads(text[]) TO cortexops_app;
    REVOKE EXECUTE ON FUNCTION audit_prune(text, text, text[], bigint[], text[]) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_archivist') THEN
        IF NOT pg_has_role('cortexops_archivist', 'cortexops_app', 'MEMBER') THEN
            BEGIN
                GRANT cortexops_app TO cortexops_archivist;
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'cortexops_archivist cannot become a member of cortexops_app';
                WHEN unique_violation THEN
                    NULL;
            END;
        END IF;
        GRANT EXECUTE ON FUNCTION audit_prune(text, text, text[], bigint[], text[]) TO cortexops_archivist;
    END IF;
END $$
""",
)
"""Run after every migration; running them again changes nothing."""

BECOME = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app')
       AND pg_has_role(current_user, 'cortexops_app', 'MEMBER')
       AND to_regclass('audit_events') IS NOT NULL
       AND has_table_privilege('cortexops_app', to_regclass('audit_events')::oid, 'INSERT') THEN
        BEGIN
            SET ROLE cortexops_app;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE '% may not switch to cortexops_app', current_user;
        END;
    END IF;
END $$
"""
"""Run on every new connection. Without the role the triggers alone keep the audit trail."""
