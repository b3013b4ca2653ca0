"""Processes: composition only.

Belongs here: which parts make a process, in which order they start and stop. Does not: decisions. Clients
are built in `wiring`, nowhere else.
"""
