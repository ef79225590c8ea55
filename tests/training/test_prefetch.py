"""One batch is made ahead: in order, never two at once, and faults come where they belong."""

import threading
from contextlib import closing

import pytest

from aquatint.training.prefetch import one_ahead


def test_values_come_in_the_order_of_their_keys():
    assert list(one_ahead(lambda key: key**2, range(20))) == [key**2 for key in range(20)]
    assert list(one_ahead(str, [])) == []


def test_the_next_value_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(3)]
    values = one_ahead(lambda key: made[key].set(), range(3))
    with closing(values):
        next(values)
        assert made[1].wait(10)
        assert not made[2].is_set()


def test_a_fault_comes_when_its_value_is_asked_for():
    def make(key):
        if key == 1:
            raise ValueError("broken frame")
        return key

    values = one_ahead(make, range(3))
    assert next(values) == 0
    with pytest.raises(ValueError, match="broken frame"):
        next(values)


def test_no_thread_is_left_behind():
    before = threading.active_count()
    values = one_ahead(str, range(100))
    next(values)
    values.close()
    assert threading.active_count() == before
