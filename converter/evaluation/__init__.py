"""Judging models by what is true: each is run through the device's own transform, engine and decoder."""
