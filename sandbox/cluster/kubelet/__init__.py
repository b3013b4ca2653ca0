"""A kubelet whose containers obey declared physics; it works against the simulated and a real API server."""
