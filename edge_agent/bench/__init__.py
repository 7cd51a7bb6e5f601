"""What this machine can do with a model: measured through the pipeline that the agent runs."""
