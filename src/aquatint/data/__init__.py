"""Tables and their checks, readers of raw formats, splits and labels."""
