"""Caches of whatever is frozen."""
