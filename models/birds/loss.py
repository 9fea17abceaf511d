"""The training loss: task-aligned assignment (TOOD, Feng et al., ICCV 2021), BCE and GIoU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CANDIDATES = 10  # cells that may answer for one bird
_ALPHA, _BETA = 0.5, 6.0  # weights of score and IoU in a cell's alignment
_BOX_WEIGHT = 5.0
_MIN_SIDE = 12.0  # pixels: flatter boxes are widened to it when cells are looked for, so each has some
_EPS = 1e-9


def detection_loss(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor, where: Tensor
) -> Tensor:
    """The loss of a batch, a scalar.

    logits [B,A,K] and boxes [B,A,4] are predictions, `where` [A,3] the cells (see `model.cells`); true_boxes
    [B,M,4] and labels [B,M], -1 where there is none, are the truth. Boxes are x1 y1 x2 y2 in pixels.
    """
    targets, matched, positive = assign(logits.detach(), boxes.detach(), true_boxes, labels, where)
    total = targets.sum().clamp(min=1.0)
    classes = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / total
    weight = targets.sum(-1)[positive]
    overlap = generalised_iou(boxes[positive], matched[positive])
    return classes + _BOX_WEIGHT * ((1.0 - overlap) * weight).sum() / total


def assign(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor, where: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each bird the cells whose score and box agree best with it.

    Returns the class targets [B,A,K], 0..1; the true box of each cell [B,A,4]; which cells have one [B,A].
    """
    exists = labels >= 0  # B,M
    index = labels.clamp(min=0)
    scores = (
        logits.sigmoid().transpose(1, 2).gather(1, index[..., None].expand(-1, -1, logits.shape[1]))
    )  # B,M,A
    overlap = iou(true_boxes[:, :, None], boxes[:, None])  # B,M,A
    alignment = scores.pow(_ALPHA) * overlap.pow(_BETA) + _EPS
    inside = _reachable(true_boxes, where) & exists[..., None]
    alignment = alignment * inside

    count = min(_CANDIDATES, alignment.shape[-1])
    best, cells = alignment.topk(count, dim=-1)
    chosen = torch.zeros_like(alignment, dtype=torch.bool).scatter_(-1, cells, best > 0)
    # A cell that several birds want goes to the one it overlaps most.
    rank = torch.where(chosen, overlap + _EPS, torch.zeros_like(overlap))
    owner = rank.argmax(1)  # B,A
    chosen &= functional.one_hot(owner, labels.shape[1]).bool().transpose(1, 2)
    positive = chosen.any(1)

    alignment = alignment * chosen
    strongest = alignment.amax(-1, keepdim=True).clamp(min=_EPS)
    best_overlap = (overlap * chosen).amax(-1, keepdim=True)
    strength = (alignment / strongest * best_overlap).amax(1)  # B,A
    owned = index.gather(1, owner)
    targets = functional.one_hot(owned, logits.shape[-1]) * (strength * positive)[..., None]
    matched = true_boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return targets.to(logits.dtype), matched, positive


def _reachable(true_boxes: Tensor, where: Tensor) -> Tensor:
    """Whether a cell's centre lies in a box [B,M,A], very thin boxes taken a little wider."""
    centre = (true_boxes[..., :2] + true_boxes[..., 2:]) / 2
    half = ((true_boxes[..., 2:] - true_boxes[..., :2]) / 2).clamp(min=_MIN_SIDE / 2)
    distance = (where[:, :2] - centre[:, :, None]).abs()
    return (distance < half[:, :, None]).all(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [...,4], broadcast."""
    inner, union, _ = _areas(a, b)
    return inner / union


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU (Rezatofighi et al., CVPR 2019) of boxes [...,4], -1..1."""
    inner, union, hull = _areas(a, b)
    return inner / union - (hull - union) / hull


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    inner = (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    return inner, union.clamp(min=_EPS), hull.clamp(min=_EPS)
