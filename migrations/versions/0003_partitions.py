"""Partitions of the stream with their owners, and one log of every signal's fate."""

from __future__ import annotations

from alembic import op

revision = "0003_partitions"
down_revision = "0002_silences"

TABLES = """
CREATE TABLE correlators (
    name text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE correlators IS 'processes that share out the partitions; silent ones are forgotten';

CREATE TABLE partitions (
    stream text NOT NULL,
    number integer NOT NULL,
    owner text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    floor bigint NOT NULL DEFAULT 0,
    above int8multirange NOT NULL DEFAULT '{}',
    messages bigint NOT NULL DEFAULT 0,
    discarded_messages bigint NOT NULL DEFAULT 0,
    places jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (stream, number)
);
COMMENT ON COLUMN partitions.floor IS 'all messages up to this position are settled; above: those beyond it';

CREATE TABLE fate_counts (
    stream text NOT NULL,
    number integer NOT NULL,
    fate text NOT NULL,
    reason text NOT NULL,
    signals bigint NOT NULL,
    PRIMARY KEY (stream, number, fate, reason)
);

CREATE TABLE signal_log (
    signal_id text COLLATE "C" NOT NULL,
    fate text NOT NULL,
    reason text NOT NULL,
    incident_key text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body text NOT NULL
);
CREATE INDEX signal_log_by_id ON signal_log (signal_id);
CREATE INDEX signal_log_by_key ON signal_log (incident_key, recorded_at);
COMMENT ON TABLE signal_log IS 'one row for each fate of a signal, in order of recording; only ever added to';

INSERT INTO signal_log (signal_id, fate, reason, incident_key, recorded_at, body)
SELECT f.signal_id, f.fate, f.reason, f.incident_key, f.recorded_at, CAST(s.body AS text)
FROM signal_fates f JOIN signals s ON s.id = f.signal_id ORDER BY f.recorded_at;
DROP TABLE signal_fates;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
