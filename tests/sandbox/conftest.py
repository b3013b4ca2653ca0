"""Fixtures of the sandbox's tests."""

from __future__ import annotations

from tests.support.controlplane import control_plane

__all__ = ["control_plane"]
