"""The update machine explored: every state it can come to, and whether each is as it must be."""
