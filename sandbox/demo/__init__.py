"""The demonstration: a cluster that breaks, and the product at work on it."""
