"""
RobustBench: the installed library on a network of ours (:mod:`art_levelset.evaluation.benchmark` does without it).

RobustBench 1.1.1 imports two modules that need not be there: `autoattack`, though it depends on pyautoattack, and
`pkg_resources`, which setuptools has removed. Both are supplied while it is imported.

| Paper link: https://arxiv.org/abs/2010.09670
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.adapters.autoattack import logged_to, tracing_kept
from art_levelset.adapters.libraries import REQUESTS, library
from art_levelset.arguments import did_you_mean
from art_levelset.attacks.inputs import Array, home, labels, network_of, samples
from art_levelset.attacks.network import DetachedNetwork, parameters_kept, seeded
from art_levelset.core.modes import evaluating
from art_levelset.tensors import load_tensors
from art_levelset.untrusted import opened


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
    network = network_on(arguments.pop("device", None), network_of(model))
    data = given_data(x_test, y_test)
    device, _ = home(network)
    faced = DetachedNetwork(network)
    with evaluating(faced), parameters_kept(network), seeded(seed, device), _data_replaced(robustbench, data):
        clean, robust = robustbench.benchmark(faced, device=device, **arguments)
    return float(clean), float(robust)


def zoo_model(
    name: str,
    model_dir: str | PathLike[str],
    *,
    dataset: str = "cifar10",
    threat_model: str = "Linf",
    download: bool = False,
) -> tuple[nn.Module, tuple[Path, ...]]:
    """
    A network of RobustBench's zoo, whose files are looked at before the library reads them: they can run no code.

    :param name: The network's name there, for instance "Carmon2019Unlabeled".
    :param model_dir: The folder of the files, `dataset/threat_model/name.pt`, as RobustBench lays them.
    :param dataset: "cifar10", "cifar100" or "imagenet".
    :param threat_model: "Linf", "L2" or "corruptions".
    :param download: Whether RobustBench may download what is not there.
    :return: The network, in evaluation mode, on the CPU, and its files.
    :raises ImportError: If RobustBench or pyautoattack is missing or too old.
    :raises OSError: If a file is not there, or cannot be downloaded.
    :raises ValueError: If there is no such network, or a file holds more than tensors.
    """
    robustbench = robustbench_library()
    zoo = robustbench.model_zoo.model_dicts
    known = {data.value: {threat.value: models for threat, models in kinds.items()} for data, kinds in zoo.items()}
    for what, given, there in (("dataset", dataset, known), ("threat_model", threat_model, known.get(dataset, {}))):
        if given not in there:
            raise ValueError(f"{what} must be one of {', '.join(there)}, got {given!r}")
    models = known[dataset][threat_model]
    if name not in models:
        raise ValueError(
            f"RobustBench has no network {name!r} of {dataset}, {threat_model}{did_you_mean(name, models)}"
        )
    paths = _zoo_files(Path(model_dir, dataset, threat_model), name, models[name]["gdrive_id"])
    missing = [path for path in paths if not path.is_file()]
    if (missing or not paths) and not download:
        where = f"{missing[0]} is not there" if missing else f"{name} has no file of its own in RobustBench"
        raise FileNotFoundError(f"model_dir: {where}; --download, or download=True, fetches it")
    for path in set(paths) - set(missing):
        _check_zoo_file(path)
    try:
        network: nn.Module = robustbench.utils.load_model(name, str(model_dir), dataset, threat_model)
    except OSError as error:
        raise OSError(f"model_dir: {name} cannot be downloaded: {' '.join(str(error).split()):.200}") from error
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{name}: {' '.join(str(error).split()):.200}") from error
    return network.eval(), paths


def _zoo_files(folder: Path, name: str, ids: str | list[str] | None) -> tuple[Path, ...]:
    """The files of a network of the zoo; none where another library brings it."""
    if ids is None:
        return ()
    if isinstance(ids, list):
        return tuple(folder / f"{name}.pt_m{number}.pt" for number in range(len(ids)))
    return (folder / f"{name}.pt",)


def _check_zoo_file(path: Path) -> None:
    with opened(path) as file:
        try:
            load_tensors(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a file of PyTorch weights: {error}") from error


def robustbench_library() -> ModuleType:
    """
    The module `robustbench`.

    :return: The module, imported with what it lacks.
    :raises ImportError: If RobustBench or pyautoattack is missing or too old, or Torchattacks has put its own old copy
            of RobustBench in its place, as it does where it is installed later.
    """
    supplied = {**_autoattack_modules(), "pkg_resources": _pkg_resources_module()}
    silence = [REQUESTS, r"`torch\.jit\.interface` is deprecated", r"Importing from timm\.models\."]
    with _modules_supplied(supplied):
        module = library("robustbench", "robustbench", "1.1.1", silence=silence)
    if not hasattr(module, "benchmark"):
        raise ImportError(
            "robustbench is overwritten by the older copy that torchattacks installs beside itself: "
            "pip install --force-reinstall --no-deps robustbench"
        )
    return module


def network_on(device: torch.device | str | None, network: nn.Module) -> nn.Module:
    """
    A network where it shall compute.

    :param device: Where; None for where it is.
    :param network: The network; not changed.
    :return: The network if it is there, else a copy of it.
    """
    if device is None or torch.device(device) == home(network)[0]:
        return network
    return copy.deepcopy(network).to(device)


def given_data(x_test: Array | None, y_test: Array | None) -> tuple[Tensor, Tensor] | None:
    """
    The samples and labels that take the place of a data set's.

    :param x_test: Samples, (n, ...), floating point.
    :param y_test: Their labels.
    :return: Both as tensors, checked, or None without them.
    :raises TypeError: If they are no tensors or arrays.
    :raises ValueError: If one is missing, or a shape or value out of range.
    """
    if (x_test is None) != (y_test is None):
        raise ValueError("x_test and y_test must be given together")
    if x_test is None or y_test is None:
        return None
    return (x := samples(x_test)), labels(y_test, len(x))


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
            with logged_to(self.log_path), tracing_kept():
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
