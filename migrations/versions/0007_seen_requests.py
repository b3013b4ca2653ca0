"""Requests that were taken, so that no console takes them again."""

from __future__ import annotations

from alembic import op

revision = "0007_seen_requests"
down_revision = "0006_anchors"

TABLES = """
CREATE TABLE seen_requests (
    mark text PRIMARY KEY,
    until timestamptz NOT NULL
);
CREATE INDEX seen_requests_expiry ON seen_requests (until);
COMMENT ON TABLE seen_requests IS 'signed requests that were taken once; kept for as long as they could be replayed';

CREATE FUNCTION keep_seen_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.until <= clock_timestamp() THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a request that could be replayed is not forgotten: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER seen_requests_kept BEFORE UPDATE OR DELETE ON seen_requests
    FOR EACH ROW EXECUTE FUNCTION keep_seen_request();
CREATE TRIGGER seen_requests_whole BEFORE TRUNCATE ON seen_requests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE seen_requests ENABLE ALWAYS TRIGGER seen_requests_kept;
ALTER TABLE seen_requests ENABLE ALWAYS TRIGGER seen_requests_whole;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
