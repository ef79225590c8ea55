import pytest

from aquatint.data.trajectory_names import PUBLISHED_NAMES, is_sampled, parse_trajectory_name


@pytest.mark.parametrize("name", PUBLISHED_NAMES)
def test_every_published_name_is_read_and_written_back(name):
    assert parse_trajectory_name(name, PUBLISHED_NAMES).token == name


def test_a_name_says_height_pitches_and_share():
    found = parse_trajectory_name("r2r_125cm_0_45%30", PUBLISHED_NAMES)
    assert (found.name, found.height_cm, found.pitch_deg, found.look_down_deg, found.percent) == (
        "r2r", 125, 0, 45, 30,
    )  # fmt: skip
    assert (found.view, found.look_down_view) == ("125cm_0deg", "125cm_45deg")
    assert parse_trajectory_name("rxr_60cm_15_15", PUBLISHED_NAMES).percent == 100


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("r2r", "is no trajectory set"),
        ("r2r_125cm_0_45%", "is no trajectory set"),
        ("r2r_125_0_45", "is no trajectory set"),
        ("r2r_0cm_0_45", "is no trajectory set"),
        ("r2r_125cm_0_95", "between 0 and 90"),
        ("r2r_125cm_0_45%0", "between 1 and 100, got 0"),
        ("r2r_125cm_0_45%101", "between 1 and 100, got 101"),
        ("r2r_125cm_15_45", "is not known; there are r2r_125cm_0_30"),
    ],
)
def test_a_wrong_name_is_refused_with_the_names_that_exist(name, words):
    with pytest.raises(ValueError, match=words):
        parse_trajectory_name(name, PUBLISHED_NAMES)


def test_a_share_is_a_function_of_id_and_seed_and_grows_by_addition():
    ids = [f"r2r/scene/{i:06d}/{t}" for i in range(100) for t in range(20)]
    chosen = {p: {i for i in ids if is_sampled(i, p, seed=3)} for p in (10, 30, 100)}
    assert chosen[10] < chosen[30] < chosen[100]
    assert len(chosen[100]) == 2000
    assert 0.27 < len(chosen[30]) / 2000 < 0.33
    other = {i for i in ids if is_sampled(i, 30, seed=4)}
    assert other != chosen[30]
