"""Evaluations that are shared: what several processes find is what one finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.memo import Memo, Share
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.work import MissingPieces
from art_levelset.evaluation import Report, attack_distances, boundary_distances, diagnose, evaluate


class Noisy(nn.Module):
    """A network that draws noise of its own from the global random state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits + 0.01 * torch.randn_like(logits)


def samples(network: Noisy) -> tuple[Tensor, Tensor]:
    x = torch.rand(24, 4, generator=torch.Generator().manual_seed(1))
    y = network.layers(x).argmax(dim=1).detach()
    y[::7] = (y[::7] + 1) % 3
    return x, y


def whole(network: Noisy, memo: Memo) -> Report:
    options: dict[str, Any] = {"eps": 0.1, "max_iter": 2, "batch_size": 8, "memo": memo, "verbose": False}
    return evaluate(network, *samples(network), ["pgd-ce", "pgd-margin"], margins=True, masking=True, **options)


def as_record(report: Report) -> dict[str, Any]:
    record = report.record(name="n", dataset="d", architecture="a").model_dump(mode="json", exclude={"created"})
    for attack in record["attacks"]:
        del attack["seconds"]
    return record


def test_shards_find_what_one_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the network is random."""
    monkeypatch.setattr("art_levelset.evaluation.distances.CELL", 8)
    network = Noisy()
    torch.manual_seed(5)
    alone = as_record(whole(network, Memo()))
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for rank in (2, 0, 1):
        torch.manual_seed(rank)  # another state in every process
        with pytest.raises(MissingPieces):
            whole(network, Memo(folders[rank], share=Share(rank, 3, fixed=True)))
    torch.manual_seed(7)
    merged = whole(network, Memo(folders[0], share=Share(None, 3, fixed=True), others=folders[1:]))
    assert as_record(merged) == alone
    counts = {folder.name: len([*folder.iterdir()]) for folder in folders}
    assert min(counts.values()) > 0.5 * max(counts.values()), "each has done about as much as the others"


def test_a_share_is_no_result(tmp_path: Path) -> None:
    network = Noisy()
    x, y = samples(network)
    options: dict[str, Any] = {"batch_size": 8, "memo": Memo(tmp_path, share=Share(0, 2, fixed=True)), "verbose": False}
    with pytest.raises(MissingPieces):
        boundary_distances(network, x, y, max_iter=1, **options)
    with pytest.raises(MissingPieces):
        attack_distances(
            network, x, y, lambda eps: partial(pgd, eps=eps, max_iter=1), largest=0.1, halvings=1, **options
        )
    with pytest.raises(MissingPieces):
        diagnose(network, x, y, eps=0.1, max_iter=2, **options)
