"""Navigation: frames that are read, dialogues that are remembered, frames that are rendered.

Run with ``make bench``. On a random pocket Qwen2.5-VL (96 wide, 3 blocks a tower, 96 px) over
embedded pad towns: samples a second of the builder that decodes what a sample shows, against one
that decodes every frame up to it with its depth; a joint training step on remembered dialogues,
against one that runs the frozen System 2 each time, with equal losses; dialogues remembered with
each image seen once, against as often as it is shown, and without what comes behind the last
block's keys and values, against the whole pass; frames of samples changed in color all at once,
against one by one with Pillow, to the bit the same; steps a second in closed loop where frames
are rendered once when System 2 asks for them, against rendering each step, and against rendering
again whenever they are asked for. CPU seconds, one thread, medians of alternating rounds. Last the
wall time of flights by one process and by two.
"""

import os
import statistics
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import DynamicCache

from aquatint.data.goal_tables import DepthCamera
from aquatint.data.image_augmentation import draw_augmentation
from aquatint.data.navigation_prompts import example_texts
from aquatint.data.navigation_samples import SampleRule, draw_samples
from aquatint.data.navigation_sets import label_sets, parse_sets, read_sets
from aquatint.data.pixel_goals import GoalRule
from aquatint.data.trajectories import ReadRule, read_depth
from aquatint.models.architectures import require_architecture
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.dual_system import DualSystem, Memory, remember
from aquatint.models.navigator import NavigationModel
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.qwen_vl import embed_with_images, rope_positions
from aquatint.models.system1 import System1
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.dual_memory import memory_shape, pack_memory, remember_turns, unpack_memory
from aquatint.training.dual_stage import trajectory_losses
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle, read_frame
from aquatint.training.navigation_rollout import roll_out
from aquatint.training.navigation_samples import (
    FrameFiles,
    NavigationData,
    NavigationDialogues,
    NavigationSamples,
)
from aquatint.training.point_goal_control import StraightLine
from aquatint.training.shared_flights import group_flights, share_flights
from aquatint.training.system2_actor import Guidance, System2Actor, System2Asker
from aquatint.training.system2_rollout import ClosedLoop, open_system2
from aquatint.world.pad_simulator import TrajectorySimulator
from aquatint.world.town import TownWorldSpec, write_town

ROUNDS, EDGE_PX, NUM_HISTORY, BATCH, MAX_STEPS = 3, 96, 8, 16, 24
STYLE = FrameStyle(96, 48, 576, 36_864)


def cpu_seconds(function) -> tuple[float, object]:
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def alternate(*functions) -> list[float]:
    rounds = [[cpu_seconds(function)[0] for function in functions] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def make_backbone(folder: Path) -> Backbone:
    kind = require_architecture("qwen2_5_vl")
    tokenizer = train_tokenizer(8 * example_texts(), 640, kind)
    config = qwen_config(kind, width=96, num_blocks=3, image_size_px=EDGE_PX, patch_size_px=12,
                         tokenizer=tokenizer, rope_theta=5.0)  # fmt: skip
    random_qwen(kind, config, 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "random")


def make_data(folder: Path, spec: TownWorldSpec) -> NavigationData:
    root = folder / "traj_data"
    chosen = parse_sets([spec.token], [spec.token])
    flights, frames, _ = read_sets(root, chosen, ReadRule("strict", 0.0, "opencv", False))
    rule = GoalRule(0.8, 3, 60.0, 10.0, 5.0)
    goals = label_sets(root, chosen, flights, frames, DepthCamera(79.0, 1000), rule)
    sampling = SampleRule(2, NUM_HISTORY, 4, 3, 1)
    samples, _ = draw_samples(flights, frames, goals, chosen, sampling, (0.2, 0.2), 0)
    return NavigationData(str(root), frames, samples)


class ReadsEverything(FrameFiles):
    """Decodes every frame up to the one that is asked for, and its depth, as the source does."""

    def __init__(self, data: NavigationData) -> None:
        super().__init__(data)
        self._all = {
            flight: rows.sort_values("frame")[["rgb_path", "look_down_path", "depth_path"]]
            for flight, rows in data.frames.groupby("flight_id")
        }
        self._done: set[tuple[str, int]] = set()

    def view(self, flight_id: str, frame: int):
        """Decode a frame, after all others."""
        self._read(flight_id, frame)
        return super().view(flight_id, frame)

    def _read(self, flight_id: str, frame: int) -> None:
        rows = self._all[flight_id].iloc[: frame + 1]
        if (flight_id, frame) not in self._done:  # once for a sample, not for each of its frames
            self._done = {(flight_id, f) for f in range(frame + 1)}
            for row in rows.itertuples():
                read_frame(self._root / row.rgb_path)
                read_frame(self._root / row.look_down_path)
                read_depth(self._root / row.depth_path, 1000)


def bench_builder(data: NavigationData, backbone: Backbone) -> None:
    writer = DialogueWriter(backbone, STYLE)
    train = data.of_split("train")
    needed = NavigationDialogues(train, writer, NUM_HISTORY, 0)
    everything = NavigationDialogues(train, writer, NUM_HISTORY, 0)
    everything._files = ReadsEverything(train)
    positions = torch.arange(0, len(needed), max(1, len(needed) // 48))[:48]

    def build(dialogues):
        if isinstance(dialogues._files, ReadsEverything):
            dialogues._files._done = set()
        return NavigationSamples(dialogues, None).batch(positions)

    ours, theirs = build(needed), build(everything)
    if not all(torch.equal(ours[n], theirs[n]) for n in ("input_ids", "patches", "labels")):
        raise SystemExit("The builders differ.")
    fast, slow = alternate(lambda: build(needed), lambda: build(everything))
    print(f"sample builder: {len(positions) / fast:.0f} samples/s reading what is shown, "
          f"{len(positions) / slow:.0f} reading all frames so far; "
          f"ratio {slow / fast:.2f}")  # fmt: skip


def bench_joint_step(data: NavigationData, backbone: Backbone) -> None:
    torch.manual_seed(0)
    model = NavigationModel(backbone.load()).eval()
    writer = DialogueWriter(backbone, STYLE)
    dialogues = NavigationDialogues(data.of_split("train", "pixel"), writer, NUM_HISTORY, 0)
    batch = writer.write([dialogues.turns(i, has_answers=True) for i in range(BATCH)])
    pictures = {"size_px": 32, "patch_px": 8, "num_encoder_blocks": 1, "num_memory_blocks": 1,
                "num_queries": 8}  # fmt: skip
    system1 = System1(backend="nextdit_async", latent_width=96, num_latents=4, width=64, horizon=32,
                      num_blocks=3, num_heads=4, pictures=pictures, num_train_timesteps=1000,
                      num_inference_steps=10, num_diffusion_timesteps=20)  # fmt: skip
    dual = DualSystem(model.backbone.model.language_model, 4, system1)
    rest = {"actions": torch.randn(BATCH, 4, 32, 3), "noise": torch.randn(BATCH, 4, 32, 3),
            "timesteps": torch.randint(1000, (BATCH, 4)),
            "is_target": torch.ones(BATCH, 4, dtype=torch.bool),
            "pictures": torch.randn(BATCH, 4, 2, 4, 32, 32)}  # fmt: skip
    shape = memory_shape(model.backbone.config.text_config, 224)
    stored = pack_memory(remember(model, batch), 224, "float16")

    def step(memory: Memory) -> float:
        dual.zero_grad()
        loss = trajectory_losses(dual, {**memory._asdict(), **rest})["action"]
        loss.backward()
        return float(loss.detach())

    def cached() -> float:
        return step(unpack_memory(stored, shape))

    def live() -> float:
        return step(Memory(*(value.clone() for value in remember(model, batch))))

    if abs(cached() - live()) > 1e-3:  # the stored type rounds
        raise SystemExit("The losses differ.")
    fast, slow = alternate(cached, live)
    print(f"joint step of {BATCH}: {fast * 1e3:.0f} ms on remembered dialogues, "
          f"{slow * 1e3:.0f} ms with a live System 2; ratio {slow / fast:.2f}")  # fmt: skip


def bench_remembering(data: NavigationData, backbone: Backbone) -> None:
    model = NavigationModel(backbone.load()).eval()
    writer = DialogueWriter(backbone, STYLE)
    pixels = data.of_split("train", "pixel")

    def turns():
        dialogues = NavigationDialogues(pixels, writer, NUM_HISTORY, 0)
        return [dialogues.turns(i, has_answers=True) for i in range(BATCH)]

    def each():
        shown = [[turn._replace(images=[image.copy() for image in turn.images]) for turn in of_one]
                 for of_one in turns()]  # fmt: skip
        return remember(model, writer.write(shown))

    if not torch.allclose(remember_turns(model, writer, turns()).values, each().values, atol=1e-5):
        raise SystemExit("The memories differ.")
    fast, slow = alternate(lambda: remember_turns(model, writer, turns()), each)
    print(f"remembering {BATCH} dialogues: {fast * 1e3:.0f} ms seeing each image once, "
          f"{slow * 1e3:.0f} ms as often as it is shown; ratio {slow / fast:.2f}")  # fmt: skip


def remember_whole(model: NavigationModel, batch) -> torch.Tensor:
    """Keys and values of a pass to its end, padding masked."""
    ids, seen = batch["input_ids"], batch["attention_mask"]
    cache = DynamicCache(config=model.backbone.config.text_config)
    model.backbone.model.language_model(
        inputs_embeds=embed_with_images(model.backbone, ids, model.see(batch)),
        attention_mask=seen,
        position_ids=rope_positions(model.backbone, ids, seen, batch["grids"]),
        past_key_values=cache,
        use_cache=True,
    )
    values = [torch.stack([layer.keys, layer.values], 1) for layer in cache.layers]
    return torch.stack(values, 1).masked_fill(~seen.bool()[:, None, None, None, :, None], 0.0)


@torch.inference_mode()
def bench_ending_early(data: NavigationData, backbone: Backbone) -> None:
    model = NavigationModel(backbone.load()).eval()
    writer = DialogueWriter(backbone, STYLE)
    dialogues = NavigationDialogues(data.of_split("train", "pixel"), writer, NUM_HISTORY, 0)
    batch = writer.write([dialogues.turns(i, has_answers=True) for i in range(BATCH)])
    if not torch.allclose(remember(model, batch).values, remember_whole(model, batch), atol=1e-5):
        raise SystemExit("The memories differ.")
    fast, slow = alternate(lambda: remember(model, batch), lambda: remember_whole(model, batch))
    print(f"keys and values of {BATCH} dialogues: {fast * 1e3:.0f} ms up to the last block's, "
          f"{slow * 1e3:.0f} ms with all behind them; ratio {slow / fast:.2f}")  # fmt: skip


def bench_augmentation() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_augmentation(0, sample) for sample in range(BATCH)]
    for edge_px, num_frames in ((24, NUM_HISTORY), (48, NUM_HISTORY), (96, 1), (384, 1)):
        frames = rng.integers(0, 256, (num_frames, edge_px, edge_px, 3), dtype=np.uint8)

        def together(frames=frames):
            return [draw._change_together(frames) for draw in draws]

        def one_by_one(frames=frames):
            return [
                np.stack([np.asarray(draw._change(Image.fromarray(frame))) for frame in frames])
                for draw in draws
            ]

        if not all(map(np.array_equal, together(), one_by_one())):
            raise SystemExit("The changed frames differ.")
        fast, slow = alternate(together, one_by_one)
        print(f"colors of {num_frames} frame(s) of {edge_px} px, {BATCH} samples: "
              f"{fast * 1e3:.1f} ms at once, {slow * 1e3:.1f} ms one by one with Pillow; "
              f"ratio {slow / fast:.2f}")  # fmt: skip


class RendersEach(System2Actor):
    """Renders both views at every step, whoever asks for them."""

    def decide(self, simulator, agents):
        """Render, then act."""
        for camera in ("ahead", "down"):
            now = [(agent, simulator.num_frames(agent) - 1) for agent in agents]
            simulator.observe_frames(now, camera)
        return super().decide(simulator, agents)


class Forgetful(TrajectorySimulator):
    """Renders a frame again whenever it is asked for."""

    def observe_frames(self, requests, camera):
        """Forget, then render."""
        for run in self._runs:
            run.seen.clear()
        return super().observe_frames(requests, camera)


def bench_loop(folder: Path, spec: TownWorldSpec, backbone: Backbone) -> None:
    simulators = {kind: kind(folder, spec) for kind in (TrajectorySimulator, Forgetful)}
    for simulator in simulators.values():
        simulator.restrict({"scene_0000", "scene_0001"}, 8)
    agent = simulators[Forgetful].agent
    guidance = Guidance(NUM_HISTORY, 4, 8, 16)
    model = NavigationModel(backbone.load()).eval()
    asker = System2Asker(model, DialogueWriter(backbone, STYLE), guidance)
    control = StraightLine(agent.step_m, agent.turn_deg, 1.25)
    steps = []

    def fly(world, kind):
        results = roll_out(simulators[world], kind(asker, control), MAX_STEPS)
        steps.append(sum(len(result["path"]) - 1 for result in results))
        return [result["path"] for result in results]

    ways = [(TrajectorySimulator, System2Actor), (TrajectorySimulator, RendersEach),
            (Forgetful, System2Actor)]  # fmt: skip
    flown = [fly(*way) for way in ways]
    if not all(np.array_equal(a, b) for other in flown[1:]
               for a, b in zip(flown[0], other, strict=True)):  # fmt: skip
        raise SystemExit("The flights differ.")
    once, eager, again = alternate(*(partial(fly, *way) for way in ways))
    print(f"closed loop: {steps[0] / once:.1f} steps/s rendering once what is asked for, "
          f"{steps[0] / eager:.1f} rendering each step; ratio {eager / once:.2f}; "
          f"{steps[0] / again:.1f} rendering whenever it is asked for; "
          f"ratio {again / once:.2f}")  # fmt: skip


def bench_pilots(folder: Path, spec: TownWorldSpec, backbone: Backbone) -> None:
    """Wall time, from the start of the processes to their end, loading included."""
    simulator = TrajectorySimulator(folder, spec)
    simulator.restrict({f"scene_{number:04d}" for number in range(8)})
    spec_of_system2 = {"num_history": NUM_HISTORY, "max_new_tokens": 4, "style": asdict(STYLE)}
    loop = ClosedLoop(60, 0, 6.0, 6.0, requires_stop=True, wording=0, max_forward_steps=8,
                      batch_size=16)  # fmt: skip
    run = RunParams(seed=0, device="cpu", precision="float32", num_threads=1,
                    save_state_every_steps=1, save_state_every_minutes=1)  # fmt: skip
    arguments = (backbone, Checkpoint({}, spec_of_system2), loop, run)
    groups = group_flights(("untrained",), len(simulator.episode_ids), 4)
    walls: dict[int, list[float]] = {1: [], 2: []}
    paths = {}
    for number in (1, 2) * ROUNDS:
        started = time.perf_counter()
        flown = share_flights(open_system2, arguments, simulator, groups, number)
        walls[number].append(time.perf_counter() - started)
        paths[number] = [path for part in flown for path in part["path"]]
    if paths[1] != paths[2]:
        raise SystemExit("Two processes fly otherwise than one.")
    one, two = (statistics.median(times) for times in walls.values())
    print(f"{len(paths[1])} flights of 60 steps: {one:.1f} s by one process, {two:.1f} s by two "
          f"with their start; ratio {one / two:.2f}, load {os.getloadavg()[0]:.1f}")  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    spec = TownWorldSpec(10, 4, EDGE_PX, seed=5, has_flaws=False, landmarks="pads")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "world"
        write_town(folder, spec)
        backbone = make_backbone(Path(scratch) / "backbone")
        data = make_data(folder, spec)
        bench_builder(data, backbone)
        bench_joint_step(data, backbone)
        bench_augmentation()
        bench_ending_early(data, backbone)
        bench_remembering(data, backbone)
        bench_loop(folder, spec, backbone)
        bench_pilots(folder, spec, backbone)


if __name__ == "__main__":
    main()
