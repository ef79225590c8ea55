"""A Qwen's vision tower as it runs here against transformers', and where its tokens stand.

Run with ``make bench``. Patches are embedded by one matrix product in place of a Conv3d; images of
like length are attended to in one call in place of one call each, and places are laid out once for
each size: forward and backward. Positions of the language model's tokens are computed for all
dialogues at once. Both ways are compared.
"""

import statistics
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from aquatint.models.architectures import ARCHITECTURES
from aquatint.models.pocket import qwen_config, train_tokenizer
from aquatint.models.qwen_vl import rope_positions
from aquatint.models.vision_tower import PatchProjection, image_features, quicken_tower

ROUNDS = 5
# Patches, edge of a patch, width: 64 images of 96 px; one of 448 px for Qwen2.5-VL.
PATCHES = ((4096, 12, 96), (1024, 14, 1280))
# What System 2 is shown in a batch of 16: eight earlier frames each, the frame of this moment, and
# the one that looks down; and 16 images of one size, as a pocket backbone is trained on.
BATCHES = {
    "16 dialogues of 8 small frames and 2 larger ones": 16 * [*8 * [(4, 4)], *2 * [(8, 8)]],
    "16 images": 16 * [(8, 8)],
}


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def median_ms(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """CPU milliseconds of both, medians of alternating rounds behind a first one."""
    rounds = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(ROUNDS + 1)]
    mine, others = (1e3 * statistics.median(part) for part in zip(*rounds[1:], strict=True))
    return mine, others


def compare(
    what: str, ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], patches: Tensor
) -> None:
    """Print what both take, forward and backward."""
    difference = float((theirs(patches) - ours(patches)).detach().abs().max())
    if difference > 1e-4:
        raise SystemExit(f"{what}: the results differ by {difference:.1e}.")
    mine, others = median_ms(
        *(lambda way=way: way(patches).square().mean().backward() for way in (ours, theirs))
    )
    print(
        f"{what}: {mine:.0f} ms against {others:.0f} ms: {others / mine:.2f} times less, within "
        f"{difference:.1e}"
    )


def compare_patches(num_patches: int, edge_px: int, width: int) -> None:
    kernel = (2, edge_px, edge_px)
    convolution = nn.Conv3d(3, width, kernel, kernel, bias=False)

    def theirs(rows: Tensor) -> Tensor:
        return convolution(rows.view(-1, 3, *kernel)).view(-1, width)

    what = f"patches: {num_patches} of {edge_px} px, width {width}"
    compare(
        what, PatchProjection(convolution), theirs, torch.randn(num_patches, 3 * 2 * edge_px**2)
    )


def build(name: str) -> PreTrainedModel:
    """A small model, as transformers builds it."""
    kind = ARCHITECTURES[name]
    tokenizer = train_tokenizer(["a pad", "a town"], 300, kind)
    config = qwen_config(
        kind, width=96, num_blocks=2, image_size_px=96, patch_size_px=12, tokenizer=tokenizer
    )
    return kind.load_class()(config)


def compare_towers(name: str, what: str, sizes: list[tuple[int, int]]) -> None:
    ours, theirs = build(name), build(name)
    ours.load_state_dict(theirs.state_dict())
    quicken_tower(ours)
    # The same patch embedding, measured by itself above.
    theirs.model.visual.patch_embed = PatchProjection(theirs.model.visual.patch_embed.proj)
    grids = torch.tensor([(1, *size) for size in sizes])

    def of_transformers(patches: Tensor) -> Tensor:
        found = theirs.model.get_image_features(pixel_values=patches, image_grid_thw=grids)
        return torch.cat(list(found.pooler_output))

    patches = torch.randn(int(grids.prod(1).sum()), 3 * 2 * 12**2)
    compare(
        f"{name}, {what}", lambda rows: image_features(ours, rows, grids), of_transformers, patches
    )


def compare_positions(name: str, what: str, sizes: list[tuple[int, int]]) -> None:
    """Print CPU seconds of positions of 16 dialogues, ten words around each image."""
    model = build(name)
    image = model.config.image_token_id
    # Two by two patches are a token.
    row = [1] * 10
    for height, width in sizes[: len(sizes) // 16]:
        row += [image] * (height * width // 4) + [1] * 10
    ids = torch.tensor([row] * 16)
    grids, mask = torch.tensor([(1, *size) for size in sizes]), torch.ones_like(ids)

    def ours() -> Tensor:
        return rope_positions(model, ids, mask, grids)

    def theirs() -> Tensor:
        return model.model.get_rope_index(
            ids, mm_token_type_ids=(ids == image).int(), image_grid_thw=grids, attention_mask=mask
        )[0]

    if not torch.equal(ours(), theirs()):
        raise SystemExit(f"positions, {name}, {what}: they differ.")
    mine, others = median_ms(ours, theirs)
    print(
        f"positions, {name}, {what}: {mine:.2f} ms against {others:.1f} ms: "
        f"{others / mine:.0f} times less, the same"
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"CPU time, torch {torch.__version__}, transformers {transformers.__version__}")
    for size in PATCHES:
        compare_patches(*size)
    for name in ("qwen2_vl", "qwen2_5_vl"):
        for what, sizes in BATCHES.items():
            compare_towers(name, what, sizes)
            compare_positions(name, what, sizes)


if __name__ == "__main__":
    main()
