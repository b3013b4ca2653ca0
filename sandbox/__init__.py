"""For those without Docker or a cluster: embedded engines, a simulated cluster, scenarios."""
