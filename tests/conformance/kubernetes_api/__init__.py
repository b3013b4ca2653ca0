"""What an API server does, asked of the simulated one and of a real one."""
