"""The command line: the top layer. Modules import what they need inside their commands, to start fast."""
