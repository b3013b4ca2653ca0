"""Drills: the product is broken on purpose, and what must always hold is checked."""
