"""Engines for the conformance suites."""

from tests.support.controlplane import control_plane

__all__ = ["control_plane"]
