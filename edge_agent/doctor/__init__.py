"""Whether this machine has what the agent needs, and what to do where it has not."""
