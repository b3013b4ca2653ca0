"""The whole product on one machine: engines, a cluster, and all worker processes, started and watched together."""
