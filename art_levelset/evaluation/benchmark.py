"""
RobustBench's benchmark for any network and any data, without RobustBench.

| Paper link: https://arxiv.org/abs/2010.09670
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch

from art_levelset.adapters.autoattack import AutoAttack, logged_to
from art_levelset.adapters.robustbench import given_data, network_on
from art_levelset.attacks.inputs import Array, network_of
from art_levelset.attacks.memo import Memo
from art_levelset.checks import check_count
from art_levelset.core.balls import THREAT_MODELS
from art_levelset.evaluation.assessment import evaluate
from art_levelset.evaluation.datasets import load
from art_levelset.evaluation.record import write_record


def benchmark(
    model: Any,
    n_examples: int = 10_000,
    dataset: Any = "cifar10",
    threat_model: Any = "Linf",
    to_disk: bool = False,
    model_name: str | None = None,
    data_dir: str | PathLike[str] = "./data",
    corruptions_data_dir: None = None,
    device: torch.device | str | None = None,
    batch_size: int = 32,
    eps: float | None = None,
    log_path: str | PathLike[str] | None = None,
    preprocessing: None = None,
    aa_state_path: str | PathLike[str] | None = None,
    *,
    x_test: Array | None = None,
    y_test: Array | None = None,
) -> tuple[float, float]:
    """
    RobustBench's benchmark, standard AutoAttack on the first samples of a test set, without RobustBench.

    It has RobustBench's signature and takes data besides. The seed is 0, and the model is left as it is.

    :param model: A network (batch, channels, height, width) -> (batch, classes), or an ART PyTorchClassifier.
    :param n_examples: Samples to use, >= 1.
    :param dataset: The data set's name, as text or in RobustBench's enumeration. Without `x_test` its test set is
           loaded from `data_dir`, as :func:`art_levelset.evaluation.datasets.load` does.
    :param threat_model: "Linf", "L2" or "L1", or RobustBench's enumeration.
    :param to_disk: Whether to write the record `model_info/<dataset>/<threat_model>/<model_name>.json`, as
           :func:`art_levelset.evaluation.record.write_record` does.
    :param model_name: The model's name in the record and of its file.
    :param data_dir: Folder of the data sets.
    :param corruptions_data_dir: None: corruptions are no attack, and not evaluated here.
    :param device: Where to compute; where the model is, by default.
    :param batch_size: Samples attacked at a time, >= 1.
    :param eps: Radius of the ball, >= 0.
    :param log_path: A file that AutoAttack's messages are added to.
    :param preprocessing: None: it is RobustBench's for ImageNet, and the model takes images as they are.
    :param aa_state_path: A folder that keeps finished work, so that a killed run goes on; made where it is missing.
    :param x_test: Samples, (n, channels, height, width), in [0, 1].
    :param y_test: Their labels, (n,) integers or (n, classes) one-hot.
    :return: The accuracies without and under the attack, in [0, 1].
    :raises ImportError: If pyautoattack is missing or too old.
    :raises OSError: If the data set cannot be read or a file not be written.
    :raises TypeError: If an argument is of another type.
    :raises ValueError: If an argument is out of range, or missing for what is asked.

    >>> import torch
    >>> from art_levelset import benchmark
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4, bias=False))
    >>> _ = model[1].weight.data.copy_(2 * torch.eye(4))
    >>> x, y = torch.tensor([[0.6, 0.5, 0.5, 0.4]]).reshape(1, 1, 2, 2), torch.tensor([0])
    >>> benchmark(model, 1, "four pixels", "Linf", eps=0.3, x_test=x, y_test=y)
    (1.0, 0.0)
    """
    dataset, threat_model = getattr(dataset, "value", dataset), getattr(threat_model, "value", threat_model)
    if threat_model not in THREAT_MODELS:
        raise ValueError(f"threat_model must be one of {', '.join(THREAT_MODELS)}, got {threat_model!r}")
    for name, value in {"corruptions_data_dir": corruptions_data_dir, "preprocessing": preprocessing}.items():
        if value is not None:
            raise ValueError(f"{name} must be None: neither corruptions nor ImageNet are evaluated here")
    if eps is None:
        raise ValueError(f"eps must be given for the threat model {threat_model}")
    if to_disk and (not model_name or Path(model_name).name != model_name):
        raise ValueError(f"model_name must be a name that a file can have when to_disk is set, got {model_name!r}")
    check_count("n_examples", n_examples)
    memo = None if aa_state_path is None else Memo(aa_state_path)
    attack = AutoAttack(eps, THREAT_MODELS[threat_model], batch_size=batch_size, memo=memo or Memo())
    network = network_on(device, network_of(model))
    data = given_data(x_test, y_test)
    if data is None:
        found = load(dataset, data_root=data_dir)
        data, dataset = (torch.from_numpy(found.x), torch.from_numpy(found.y)), found.name
    x, y = (each[:n_examples] for each in data)
    with logged_to(log_path):
        report = evaluate(network, x, y, {"autoattack": attack}, batch_size=batch_size, memo=memo)
    if to_disk:
        path = Path("model_info", Path(dataset).name, threat_model, f"{model_name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"dataset": dataset, "threat_model": threat_model, "eps": str(eps)}
        write_record(report.record(name=model_name, architecture=type(network).__name__, **about), path)
    return float(report.clean.mean()), report.attacks[0].accuracy
