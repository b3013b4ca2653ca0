"""Memory, feedback and what is learned from both."""
