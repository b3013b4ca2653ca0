"""Protocols of the outside systems, one module each.

Belongs here: what the product needs from the outside, in the domain's types and errors.
Does not: any vendor's type. `cortexops.adapters` implements these.
"""
