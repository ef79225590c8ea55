"""Trainings that are killed on the way."""

import contextlib

import pytest

from aquatint.training import fit as fit_module


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it and clean up."""


@contextlib.contextmanager
def killed_after(num_steps):
    """Kill the training that runs inside after so many optimizer steps; it must not end before."""
    left, take_step = iter(range(num_steps)), fit_module._take_step

    def take_or_kill(*arguments):
        if next(left, None) is None:
            raise Killed
        return take_step(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "_take_step", take_or_kill)
        with pytest.raises(Killed):
            yield
