"""Geometry that several parts share: boxes, relations, angles, poses."""
