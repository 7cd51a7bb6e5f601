"""Shared libraries that tests build: a delegate in all its moods."""
