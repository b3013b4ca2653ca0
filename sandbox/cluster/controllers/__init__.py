"""The control loops of the simulated cluster; a real control plane brings its own and needs none of these."""
