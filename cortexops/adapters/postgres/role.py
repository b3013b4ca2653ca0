"""The role that the application works as: it may add audit rows, but not change or remove them."""

from __future__ import annotations

ROLE = "cortexops_app"

GRANTS = (
    # Creating it needs a right that the migrating user may lack: then an administrator makes the role, and
    # the next migration grants what it needs.
    """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app') THEN
        BEGIN
            CREATE ROLE cortexops_app NOLOGIN;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role cortexops_app cannot be created by %', current_user;
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app')
       AND NOT pg_has_role(current_user, 'cortexops_app', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT cortexops_app TO %I', current_user);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% cannot become a member of cortexops_app', current_user;
        END;
    END IF;
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
    GRANT SELECT ON audit_heads TO cortexops_app;
    GRANT SELECT, INSERT ON audit_events, policy_violations, signals, signal_log,
        incident_signals, approval_votes TO cortexops_app;
    GRANT SELECT, INSERT, UPDATE ON incident_counters, incidents, diagnoses, ledger, approvals,
        postmortems, outbox, silences, partitions, fate_counts TO cortexops_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON correlators TO cortexops_app;
    GRANT SELECT ON alembic_version TO cortexops_app;
    REVOKE EXECUTE ON FUNCTION audit_lock_heads(text[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION audit_lock_heads(text[]) TO cortexops_app;
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
