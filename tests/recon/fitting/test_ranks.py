from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from art_levelset.recon.fitting.ranks import agreed, from_each, from_first, share_weights

from ...nursing import Nursery

PROGRAM = """
import torch
from torch import distributed, nn
from art_levelset.recon.fitting.ranks import agreed, from_each, from_first, share_weights

distributed.init_process_group("gloo")
rank = distributed.get_rank()
assert from_first(lambda: rank) == 0
assert from_each(lambda: 10 * rank) == [0, 10]
assert agreed(lambda: rank) == rank
for together in (from_first, from_each, agreed):
    def fail():
        if together is from_first or rank == 1:
            raise ValueError(f"{together.__name__} of {rank}")
    try:
        together(fail)
    except ValueError as error:
        assert str(error) == f"{together.__name__} of {0 if together is from_first else 1}"
    else:
        raise AssertionError("not raised")
networks = [nn.Linear(2, 1) for _ in range(3)]
for number, network in enumerate(networks):
    nn.init.constant_(network.weight, 100 * rank + number)
share_weights(networks)
assert [float(network.weight[0, 0]) for network in networks] == [0, 101, 2]
distributed.destroy_process_group()
"""


def test_a_process_alone() -> None:
    assert from_first(lambda: "a") == agreed(lambda: "a") == "a"
    assert from_each(lambda: "a") == ["a"]
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()
    share_weights([network])
    assert torch.equal(network.weight, before)
    with pytest.raises(ZeroDivisionError):
        agreed(lambda: 1 / 0)


def test_two_processes(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = nursery.torchrun(["--nproc-per-node", "2", "program.py"], tmp_path)
    assert done.status == 0, done.err
