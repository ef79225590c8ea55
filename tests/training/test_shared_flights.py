"""How flights are cut into groups, and how many processes fly them."""

import os

import pytest

from aquatint.training import shared_flights
from aquatint.training.shared_flights import (
    FlightGroup,
    count_pilots,
    group_flights,
    pilot_run,
    share_flights,
)


def test_every_flight_of_every_policy_is_in_one_group():
    groups = group_flights(("far", "near"), 7, 3)
    assert [len(group.agents) for group in groups] == [3, 2, 2] * 2
    for policy in ("far", "near"):
        flown = [n for group in groups if group.policy == policy for n in group.agents]
        assert flown == list(range(7))


def open_pilot(word, number):
    return lambda simulator, group: (word * number, simulator["town"], group, os.getpid())


def test_pilots_are_opened_from_their_arguments_in_each_process():
    groups = group_flights(("far",), 4, 1)
    alone = share_flights(open_pilot, ("ab", 2), {"town": "x"}, groups, 1)
    assert [result[:3] for result in alone] == [("abab", "x", group) for group in groups]
    assert {result[3] for result in alone} == {os.getpid()}


def broken_pilot(folder):
    raise FileNotFoundError(f"{folder} holds no weights.")


def test_there_are_as_many_pilots_as_cores_work_and_memory_allow(run_params, monkeypatch):
    monkeypatch.setattr(shared_flights, "count_cores", lambda: 4)
    monkeypatch.setattr(shared_flights, "_available_bytes", lambda: 9 * 2**30)
    assert count_pilots(run_params, 100_000) == 4
    assert count_pilots(run_params, 5000) == 2
    assert count_pilots(run_params, 10) == 1
    assert count_pilots(run_params, 100_000, weights_bytes=2**30) == 3
    assert count_pilots(run_params, 100_000, weights_bytes=2**40) == 1


def test_a_gpu_is_not_shared(run_params, monkeypatch):
    assert pilot_run(run_params.model_copy(update={"num_threads": 8})).num_threads == 1
    monkeypatch.setattr(shared_flights, "takes_cuda", lambda run: True)
    assert count_pilots(run_params, 10**9) == 1
    eight = run_params.model_copy(update={"num_threads": 8})
    assert pilot_run(eight) == eight


def test_a_pilot_that_cannot_be_opened_says_why():
    with pytest.raises(FileNotFoundError, match="nowhere holds no weights"):
        share_flights(broken_pilot, ("nowhere",), None, [FlightGroup("far", (0,))], 1)
