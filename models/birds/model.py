"""The detector network: a depthwise-separable backbone, a two-way feature pyramid and an anchor-free head.

Only convolutions, ReLU, additions and nearest doubling, so that any edge compiler can run it; channel counts
are multiples of 16, so that blocked layouts have no rest. At every cell of strides 8, 16 and 32 it gives a
logit per class and the logarithms of the distances to the four sides of the box, in strides (as FCOS, Tian
et al., ICCV 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SIDE = 320  # pixels of the square input
STRIDES = (8, 16, 32)
# Bytes of 0..255 become (byte - MEAN) / STD.
MEAN = (114.0, 114.0, 114.0)
STD = (57.0, 57.0, 57.0)
_PRIOR = 0.01  # score of an untrained class output (focal loss paper, Lin et al., ICCV 2017)


class ConvNorm(nn.Module):
    """Convolution and batch norm, with ReLU unless told otherwise."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True) if relu else None

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] → [B,outputs,H/stride,W/stride]."""
        x = self.norm(self.conv(x))
        return x if self.act is None else self.act(x)


class Separable(nn.Module):
    """3×3 depthwise, then 1×1; with a residual path where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.depthwise = ConvNorm(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = ConvNorm(inputs, outputs, 1, relu=not self.residual)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] → [B,outputs,H/stride,W/stride]."""
        y = self.pointwise(self.depthwise(x))
        return self.act(x + y) if self.residual else y


class Tower(nn.Module):
    """A head branch: its convolutions are shared by all levels, its batch norms are each level's own."""

    def __init__(self, width: int, depth: int, outputs: int, bias: float):
        super().__init__()
        self.depthwise = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False) for _ in range(depth)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2 * depth)) for _ in STRIDES
        )
        self.act = nn.ReLU()
        self.out = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(self.out.bias, bias)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B,width,H,W] of pyramid level `level` → [B,outputs,H,W]."""
        norms = self.norms[level]
        for i, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True)):
            x = self.act(norms[2 * i](depthwise(x)))
            x = self.act(norms[2 * i + 1](pointwise(x)))
        return self.out(x)


class Detector(nn.Module):
    """Normalised image [B,3,H,W], sides multiples of 32 → (cls, box) of each of `STRIDES`.

    cls: logits [B,classes,H/s,W/s]. box: [B,4,H/s,W/s], log of the distances left, top, right, bottom.
    """

    def __init__(self, classes: int, pyramid: int = 64):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 16, 3, 2), ConvNorm(16, 32, 3, 2), Separable(32, 32))
        self.stages = nn.ModuleList([_stage(32, 64, 4), _stage(64, 128, 5), _stage(128, 256, 3)])
        self.lateral = nn.ModuleList(ConvNorm(c, pyramid, 1, relu=False) for c in (64, 128, 256))
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down = nn.ModuleList(Separable(pyramid, pyramid) for _ in range(2))
        self.shrink = nn.ModuleList(ConvNorm(pyramid, pyramid, 3, 2, groups=pyramid) for _ in range(2))
        self.bottom_up = nn.ModuleList(Separable(pyramid, pyramid) for _ in range(2))
        self.cls = Tower(pyramid, 2, classes, bias=-math.log((1 - _PRIOR) / _PRIOR))
        self.box = Tower(pyramid, 2, 4, bias=0.4)

    def forward(self, image: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """See the class."""
        fine = self.stages[0](self.stem(image))
        middle = self.stages[1](fine)
        coarse = self.lateral[2](self.stages[2](middle))
        middle = self.top_down[0](self.lateral[1](middle) + self.enlarge(coarse))
        fine = self.top_down[1](self.lateral[0](fine) + self.enlarge(middle))
        middle = self.bottom_up[0](middle + self.shrink[0](fine))
        coarse = self.bottom_up[1](coarse + self.shrink[1](middle))
        return tuple((self.cls(x, i), self.box(x, i)) for i, x in enumerate((fine, middle, coarse)))


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    return nn.Sequential(
        Separable(inputs, outputs, 2), *(Separable(outputs, outputs) for _ in range(depth - 1))
    )


def cells(width: int, height: int, strides: Sequence[int] = STRIDES) -> Tensor:
    """Centre x, centre y and stride in pixels of every cell [A,3], level by level, row by row."""
    levels = []
    for s in strides:
        y, x = torch.meshgrid(torch.arange(height // s), torch.arange(width // s), indexing="ij")
        levels.append(torch.stack([(x + 0.5) * s, (y + 0.5) * s, torch.full_like(x, s)], -1).reshape(-1, 3))
    return torch.cat(levels).float()


def flatten(outputs: Sequence[tuple[Tensor, Tensor]], where: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the network and its `cells` → logits [B,A,classes], boxes x1 y1 x2 y2 [B,A,4] in pixels."""
    logits = torch.cat([cls.flatten(2) for cls, _ in outputs], 2).transpose(1, 2)
    logs = torch.cat([box.flatten(2) for _, box in outputs], 2).transpose(1, 2)
    reach = logs.clamp(-6, 5).exp() * where[:, 2:]
    return logits, torch.cat([where[:, :2] - reach[..., :2], where[:, :2] + reach[..., 2:]], -1)
