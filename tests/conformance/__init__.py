"""The same behaviour asked of our own stand-ins and of the real thing."""
