"""One training loop and what surrounds it: optimisers, schedules, checkpoints, resume, LoRA."""
