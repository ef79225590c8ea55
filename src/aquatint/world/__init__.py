"""The embedded aerial world: scenes, a renderer, captions and writers of real formats."""
