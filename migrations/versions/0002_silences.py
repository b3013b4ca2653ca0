"""Silences and maintenance windows."""

from __future__ import annotations

revision = "0002_silences"
down_revision = "0001_books"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("the books go forward only: restore a backup instead")
