"""Pure types and decisions.

Belongs here: whatever can be computed from plain data. Does not: I/O, clocks, Temporal, vendor types.
Time is always an argument, so that every decision can be replayed.
"""
