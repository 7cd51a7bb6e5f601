"""Tiny models that are like none of those in ../shared/data, and the script that made them."""
