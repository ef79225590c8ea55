"""Figures and pages made from metrics and predictions."""
