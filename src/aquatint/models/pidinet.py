"""PiDiNet, an edge detector of pixel differences, read from its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Operators of the sixteen convolutions of the carv4 configuration, in order.
OPERATORS = ("central", "angular", "radial", "plain") * 4
WIDTH, DILATION_WIDTH = 60, 24
_AROUND = [3, 0, 1, 6, 4, 2, 7, 8, 5]
_OUTER = [0, 2, 4, 10, 14, 20, 22, 24]
_INNER = [6, 7, 8, 11, 13, 16, 17, 18]


def plain_kernel(operator: str, weight: Tensor) -> Tensor:
    """Return the kernel of a plain convolution that does what a pixel difference does.

    Args:
        operator: ``central``, ``angular``, ``radial`` or ``plain``.
        weight: Its weights, shape (O, I, 3, 3).

    Returns:
        Shape (O, I, 3, 3); (O, I, 5, 5) for ``radial``.
    """
    flat = weight.flatten(2)
    match operator:
        case "central":
            # Every weight meets its pixel less the one in the middle.
            kernel = flat.clone()
            kernel[:, :, 4] -= flat.sum(2)
            return kernel.view_as(weight)
        case "angular":
            # Every pixel less its neighbour around the circle.
            return (flat - flat[:, :, _AROUND]).view_as(weight)
        case "radial":
            # The outer ring of 5 x 5 less the inner one.
            kernel = weight.new_zeros(*flat.shape[:2], 25)
            kernel[:, :, _OUTER] = flat[:, :, 1:]
            kernel[:, :, _INNER] = -flat[:, :, 1:]
            return kernel.view(*flat.shape[:2], 5, 5)
        case "plain":
            return weight
    raise ValueError(f"A pixel difference is central, angular, radial or plain, got {operator!r}.")


class _Block(nn.Module):
    """A depthwise difference and a pointwise convolution around a shortcut."""

    def __init__(self, operator: str, channels: int, out_channels: int, is_first: bool) -> None:
        super().__init__()
        size = 5 if operator == "radial" else 3
        self.conv1 = nn.Conv2d(
            channels, channels, size, padding=size // 2, groups=channels, bias=False
        )
        self.conv2 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, out_channels, 1) if is_first else None

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is not None:
            x = F.max_pool2d(x, 2)
        y = self.conv2(self.conv1(x).relu())
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Dilations(nn.Module):
    """Four dilated convolutions of one reduction, added up."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1)
        for number, rate in enumerate((5, 7, 9, 11), start=1):
            conv = nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)
            setattr(self, f"conv2_{number}", conv)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x.relu())
        return sum((getattr(self, f"conv2_{n}")(x) for n in range(1, 5)), torch.zeros(()))


class _Attention(nn.Module):
    """A map that says where to look."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv2(self.conv1(x.relu())).sigmoid()


class _Reduce(nn.Module):
    """One map of many."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PiDiNet(nn.Module):
    """PiDiNet with spatial attention and dilations, its differences as plain convolutions.

    Args:
        width: Channels of the first stage.
        dilation_width: Channels between dilations and attention.

    References:
        Su et al., "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021,
        https://arxiv.org/abs/2108.07009. Table 5's baseline; kernels converted while loading.
    """

    def __init__(self, width: int = WIDTH, dilation_width: int = DILATION_WIDTH) -> None:
        super().__init__()
        self.width = width
        self.init_block = nn.Conv2d(3, width, 3, padding=1, bias=False)
        planes = [width, 2 * width, 4 * width, 4 * width]
        channels = width
        for number, stage, member in _places():
            if number == 0:
                continue
            out = planes[stage - 1]
            is_first = stage > 1 and member == 1
            block = _Block(OPERATORS[number], channels, out, is_first)
            setattr(self, f"block{stage}_{member}", block)
            channels = out
        self.dilations = nn.ModuleList(_Dilations(p, dilation_width) for p in planes)
        self.attentions = nn.ModuleList(_Attention(dilation_width) for _ in planes)
        self.conv_reduces = nn.ModuleList(_Reduce(dilation_width) for _ in planes)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return edge logits (B, 1, H, W) and features of the first stage, (B, C, H/2, W/2).

        Args:
            images: Normalised images (B, 3, H, W), sides multiples of 8.
        """
        x = self.init_block(images)
        stages: list[Tensor] = []
        for number, stage, member in _places():
            if number:
                x = getattr(self, f"block{stage}_{member}")(x)
            if member == (3 if stage == 1 else 4):
                stages.append(x)
        heads = zip(self.dilations, self.attentions, self.conv_reduces, stages, strict=True)
        maps = [
            F.interpolate(reduce(look(dilate(x))), images.shape[-2:], mode="bilinear")
            for dilate, look, reduce, x in heads
        ]
        return self.classifier(torch.cat(maps, 1)), F.avg_pool2d(stages[0], 2)


def _places() -> list[tuple[int, int, int]]:
    """Number of each convolution with its stage and its place in it; 0 is the first of all."""
    places = [(0, 1, 0)]
    for stage in range(1, 5):
        for member in range(1, 4 if stage == 1 else 5):
            places.append((len(places), stage, member))
    return places


def convert_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights with every difference folded into its kernel."""
    plain = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    for number, stage, member in _places():
        name = f"block{stage}_{member}.conv1.weight" if number else "init_block.weight"
        if name in plain:
            plain[name] = plain_kernel(OPERATORS[number], plain[name])
    return plain


def load_pidinet(path: Path) -> PiDiNet:
    """Read published weights: a ``.pth`` of tensors, or safetensors of the same names.

    A file that asks for anything but tensors to be unpickled is refused.

    Raises:
        ValueError: If the file is none of these, or its tensors do not fit.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        weights = load_file(path)
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{path} must hold tensors alone, but {error}. Weights are never unpickled: "
                "convert the file to safetensors where it comes from."
            ) from error
        weights = content.get("state_dict", content)
    converted = convert_weights(weights)
    if "init_block.weight" not in converted or "dilations.0.conv1.weight" not in converted:
        raise ValueError(f"{path} holds no PiDiNet with attention and dilations.")
    model = PiDiNet(
        converted["init_block.weight"].shape[0], converted["dilations.0.conv1.weight"].shape[0]
    )
    try:
        model.load_state_dict(converted, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit PiDiNet: {error}") from error
    return model.eval().requires_grad_(False)
