"""Metrics: predictions and targets in, plain numbers with their n out."""
