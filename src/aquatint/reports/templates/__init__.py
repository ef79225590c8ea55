"""Texts of the report: HTML, CSS and the script that draws its figures."""
