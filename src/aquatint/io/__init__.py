"""Catalog datasets: the only code that knows the file formats of artefacts."""
