"""Typed signatures of everything that workflows call, and of the workflow itself.

Belongs here: names, inputs and results that cross Temporal. Does not: any implementation.
"""
