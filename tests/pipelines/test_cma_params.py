"""Parameters of RDP that do not go together are refused, and say why."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from aquatint.pipelines.cma.params import RdpParams

BASE = Path(__file__).parents[2] / "conf/base/parameters_cma.yml"


def rdp(**changes):
    given = yaml.safe_load(BASE.read_text())["cma"]["rdp"]["train"]
    for path, value in changes.items():
        *sections, name = path.split("__")
        section = given
        for key in sections:
            section = section[key]
        section[name] = value
    return RdpParams(**given)


def test_base_is_valid():
    assert rdp().model.guidance_scale == 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_executed": 5}, "num_executed 5 exceeds the 4 increments of a chunk"),
        ({"model__width": 66}, "width 66 must be even and a multiple of num_heads 4"),
        ({"model__guidance_scale": 0.5}, "greater than or equal to 1"),
        ({"stop_threshold": 1.0}, "less than 1"),
        ({"untold_share": 1.0}, "less than 1"),
        ({"model__diffusion__sampler": "euler"}, "'ddpm' or 'ddim'"),
        ({"increments__turn_deg": 15}, "There is no parameter 'turn_deg'"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        rdp(**changes)
