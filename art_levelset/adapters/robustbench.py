"""
RobustBench, both ways: its benchmark for any network and any data, and the installed library on a network of ours.

RobustBench 1.1.1 imports two modules that need not be there: `autoattack`, though it depends on pyautoattack, and
`pkg_resources`, which setuptools has removed. Both are supplied while it is imported.

| Paper link: https://arxiv.org/abs/2010.09670
"""

from __future__ import annotations

import copy
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.adapters.autoattack import LOGGER, AutoAttack, tracing_kept
from art_levelset.adapters.libraries import REQUESTS, library
from art_levelset.attacks.inputs import Array, home, labels, network_of, samples
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import DetachedNetwork, parameters_kept, seeded
from art_levelset.checks import check_count
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.assessment import evaluate
from art_levelset.evaluation.datasets import load
from art_levelset.evaluation.record import write_record

THREAT_MODELS = {"Linf": math.inf, "L2": 2, "L1": 1}
"""The threat models of :func:`benchmark` and their norms. RobustBench has no L1."""


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
    network = _on(device, network_of(model))
    data = _given(x_test, y_test)
    if data is None:
        found = load(dataset, data_root=data_dir)
        data, dataset = (torch.from_numpy(found.x), torch.from_numpy(found.y)), found.name
    x, y = (each[:n_examples] for each in data)
    with _logged_to(log_path):
        report = evaluate(network, x, y, {"autoattack": attack}, batch_size=batch_size, memo=memo)
    if to_disk:
        path = Path("model_info", Path(dataset).name, threat_model, f"{model_name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"dataset": dataset, "threat_model": threat_model, "eps": str(eps)}
        write_record(report.record(name=model_name, architecture=type(network).__name__, **about), path)
    return float(report.clean.mean()), report.attacks[0].accuracy


def robustbench_benchmark(
    model: Any, *, x_test: Array | None = None, y_test: Array | None = None, seed: int = 0, **arguments: Any
) -> tuple[float, float]:
    """
    The installed RobustBench's own benchmark on a network of ours, which is left as it is.

    :param model: A network (batch, channels, height, width) -> (batch, classes >= 10), or an ART PyTorchClassifier.
    :param x_test: Samples that take the place of the data set's, (n, channels, height, width), in [0, 1]; by default
           RobustBench downloads its own.
    :param y_test: Their labels, (n,) integers or (n, classes) one-hot.
    :param seed: Seed of everything random, >= 0.
    :param arguments: RobustBench's other arguments: `n_examples`, `dataset`, `threat_model`, `eps`, `batch_size` ...
           But no `aa_state_path`: pyautoattack 0.2.0 cannot read the states that it writes.
    :return: The accuracies without and under the attack, in [0, 1].
    :raises ImportError: If RobustBench or pyautoattack is missing or too old.
    :raises TypeError: If an argument is of another type or RobustBench has none of that name.
    :raises ValueError: If an argument is out of range.
    """
    if arguments.get("aa_state_path") is not None:
        raise ValueError("aa_state_path must be None: pyautoattack cannot read its states; benchmark() can go on")
    robustbench = robustbench_library()
    network = _on(arguments.pop("device", None), network_of(model))
    data = _given(x_test, y_test)
    device, _ = home(network)
    faced = DetachedNetwork(network)
    with evaluating(faced), parameters_kept(network), seeded(seed, device), _data_replaced(robustbench, data):
        clean, robust = robustbench.benchmark(faced, device=device, **arguments)
    return float(clean), float(robust)


def robustbench_library() -> ModuleType:
    """
    The module `robustbench`.

    :return: The module, imported with what it lacks.
    :raises ImportError: If RobustBench or pyautoattack is missing or too old.
    """
    supplied = {**_autoattack_modules(), "pkg_resources": _pkg_resources_module()}
    silence = [REQUESTS, r"`torch\.jit\.interface` is deprecated", r"Importing from timm\.models\."]
    with _modules_supplied(supplied):
        return library("robustbench", "robustbench", "1.1.1", silence=silence)


def _on(device: torch.device | str | None, network: nn.Module) -> nn.Module:
    """The network if it is on that device, else a copy of it there."""
    if device is None or torch.device(device) == home(network)[0]:
        return network
    return copy.deepcopy(network).to(device)


def _given(x_test: Array | None, y_test: Array | None) -> tuple[Tensor, Tensor] | None:
    if (x_test is None) != (y_test is None):
        raise ValueError("x_test and y_test must be given together")
    if x_test is None or y_test is None:
        return None
    return (x := samples(x_test)), labels(y_test, len(x))


@contextmanager
def _logged_to(path: str | PathLike[str] | None) -> Iterator[None]:
    """Add AutoAttack's messages to a file."""
    if path is None:
        yield
        return
    logger = logging.getLogger(LOGGER)
    level, handler = logger.level, logging.FileHandler(path, encoding="utf-8")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _data_replaced(robustbench: ModuleType, data: tuple[Tensor, Tensor] | None) -> Iterator[None]:
    """Let RobustBench's benchmark use these samples and labels instead of a data set."""
    if data is None:
        yield
        return
    x, y = data
    own = robustbench.eval.load_clean_dataset
    robustbench.eval.load_clean_dataset = lambda dataset, n_examples, *_: (x[:n_examples], y[:n_examples])
    try:
        yield
    finally:
        robustbench.eval.load_clean_dataset = own


@contextmanager
def _modules_supplied(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Let these modules be imported under these names, and no longer on the way out."""
    own = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in own.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _autoattack_modules() -> dict[str, ModuleType]:
    """The modules `autoattack` and `autoattack.state` as RobustBench uses them, made of pyautoattack."""
    pyautoattack = library("pyautoattack", "robustbench", "0.2.0")
    state = library("pyautoattack.state", "robustbench", "0.2.0")

    class AutoAttack:
        """AutoAttack under its own names; without a seed it takes the one that torch was given."""

        def __init__(
            self,
            model: nn.Module,
            norm: str = "Linf",
            eps: float = 0.3,
            seed: int | None = None,
            version: str = "standard",
            device: torch.device | str = "cuda",
            log_path: str | None = None,
        ) -> None:
            seed = torch.initial_seed() if seed is None else seed
            self.ensemble = pyautoattack.AutoAttack(
                model, norm=norm, eps=eps, seed=seed, version=version, device=device
            )
            self.log_path = log_path

        def run_standard_evaluation(
            self, x: Tensor, y: Tensor, bs: int = 250, state_path: Path | None = None
        ) -> Tensor:
            with _logged_to(self.log_path), tracing_kept():
                attacked, _ = self.ensemble.run_standard_evaluation(x, y, batch_size=bs, state_path=state_path)
            result: Tensor = attacked
            return result

    return {"autoattack": _module("autoattack", AutoAttack=AutoAttack), "autoattack.state": state}


def _pkg_resources_module() -> ModuleType:
    """The module `pkg_resources` as RobustBench uses it: where a file beside a module's own is."""

    def resource_filename(module_name: str, name: str) -> str:
        return str(Path(str(sys.modules[module_name].__file__)).parent / name)

    return _module("pkg_resources", resource_filename=resource_filename)


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module
