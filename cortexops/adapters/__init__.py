"""One module for each outside system.

Belongs here: vendor clients, and the translation of their types and errors into the domain's.
Does not: decisions. Implements `cortexops.ports`.
"""
