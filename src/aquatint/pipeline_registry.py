"""Every pipeline of the project by name; explicit, because names are composed of folders."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from aquatint.pipelines import (
    cma,
    covt,
    dual_system,
    inspection,
    navdp,
    pixel_goals,
    robosense,
    system2,
    two_stage,
    vla,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Return all pipelines; ``__default__`` is the one that ``kedro viz`` draws."""
    recipes = {
        "two_stage": two_stage.create_pipeline(),
        "two_stage_dry_run": two_stage.create_dry_run(),
        "robosense": robosense.create_pipeline(),
        "inspection": inspection.create_pipeline(),
        "inspection_dry_run": inspection.create_dry_run(),
        "inspection_ablation": inspection.create_ablation(),
        "cma": cma.create_pipeline(),
        "navdp": navdp.create_pipeline(),
        "pixel_goals": pixel_goals.create_pipeline(),
        "system2": system2.create_pipeline(),
        # With the training of System 2; --only-missing-outputs skips it where it is there.
        "dual_system": system2.create_training() + dual_system.create_pipeline(),
        "vla_regression": vla.create_pipeline("vla_regression"),
        "vla_diffusion": vla.create_pipeline("vla_diffusion"),
        "covt": covt.create_pipeline(),
        "covt_predict": covt.create_predict(),
    }
    return {"__default__": recipes["two_stage"], **recipes}
