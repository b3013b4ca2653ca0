"""Fixtures of the investigation's tests."""

from __future__ import annotations

from tests.support.controlplane import control_plane

__all__ = ["control_plane"]
