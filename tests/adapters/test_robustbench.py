from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.adapters.art import art_pgd
from art_levelset.adapters.robustbench import robustbench_benchmark, robustbench_library, zoo_model
from art_levelset.attacks import pgd
from art_levelset.cli.main import main
from art_levelset.evaluation.assessment import evaluate
from art_levelset.evaluation.benchmark import benchmark
from art_levelset.evaluation.record import read_record

from ..attacks.tiny import CLASSES, data, disturbed, mlp, needs, network, random_states, state

pytestmark = [needs("pyautoattack"), pytest.mark.usefixtures("quick_autoattack")]

installed = needs("robustbench")
EPS = 0.05


def problem(count: int = 20) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network, samples, and labels of which a quarter is wrong."""
    model = mlp()
    x, y = data(model, count)
    y[::4] = (y[::4] + 1) % CLASSES
    return model, x, y


@pytest.fixture
def robustbench() -> Any:
    return robustbench_library()


@installed
def test_the_signature_is_robustbenchs(robustbench: Any) -> None:
    own = inspect.signature(benchmark).parameters
    theirs = inspect.signature(robustbench.benchmark).parameters
    assert list(own) == [*theirs, "x_test", "y_test"]
    for name, parameter in theirs.items():
        assert own[name].kind == parameter.kind
        assert own[name].default == getattr(parameter.default, "value", parameter.default), name


@installed
def test_a_copy_without_the_benchmark_is_refused(robustbench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(robustbench, "benchmark")
    with pytest.raises(ImportError, match="overwritten by the older copy that torchattacks installs.*force-reinstall"):
        robustbench_library()


@installed
def test_what_is_supplied_to_robustbench_is_gone_after_its_import(robustbench: Any) -> None:
    names = ("autoattack", "autoattack.state", "pkg_resources")
    before = {name: sys.modules.get(name) for name in names}
    assert robustbench_library() is robustbench
    assert {name: sys.modules.get(name) for name in names} == before
    assert all(module is None or hasattr(module, "__file__") for module in before.values())
    ids = robustbench.loaders.pkg_resources.resource_filename(
        "robustbench.loaders", "helper_files/imagenet_test_image_ids.txt"
    )
    assert Path(ids).is_file()


@installed
@pytest.mark.parametrize(("threat_model", "eps"), [("Linf", EPS), ("L2", 0.2)])
def test_robustbenchs_own_benchmark_on_a_network_of_ours(threat_model: str, eps: float, robustbench: Any) -> None:
    model, x, y = problem()
    given: dict[str, Any] = {"threat_model": threat_model, "eps": eps, "x_test": x, "y_test": y}
    clean, robust = robustbench_benchmark(model, batch_size=7, **given)
    assert (clean, robust) == benchmark(model, batch_size=7, **given)
    assert 0 < robust < clean == 0.75
    assert robustbench_benchmark(model, n_examples=8, batch_size=7, **given)[0] == 0.75


@installed
def test_robustbenchs_own_benchmark_leaves_everything_as_it_was(
    robustbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = network()
    x, y = data(model, 8)
    disturbed(model)
    before, randoms, loader = state(model), random_states(), robustbench.eval.load_clean_dataset
    settings: dict[str, Any] = {"eps": EPS, "x_test": x.numpy(), "y_test": np.eye(CLASSES)[y]}
    results = [
        robustbench_benchmark(model, to_disk=True, model_name="mine", log_path="log.txt", **settings) for _ in range(2)
    ]
    assert results[0] == results[1]
    assert '"autoattack_acc"' in Path("model_info/cifar10/Linf/mine.json").read_text()
    assert "robust accuracy" in Path("log.txt").read_text()
    with pytest.raises(ValueError, match="eps"):
        robustbench_benchmark(model, **{**settings, "eps": None})
    with pytest.raises(ValueError, match="aa_state_path must be None"):
        robustbench_benchmark(model, aa_state_path=tmp_path / "state", **settings)
    with pytest.raises(TypeError, match="iterations"):
        robustbench_benchmark(model, iterations=3, **settings)
    with pytest.raises(ValueError, match="x_test and y_test must be given together"):
        robustbench_benchmark(model, x_test=x, eps=EPS)
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert random_states() == randoms
    assert robustbench.eval.load_clean_dataset is loader


@installed
def test_a_network_of_robustbenchs_zoo_is_evaluated(robustbench: Any) -> None:
    architectures = "robustbench.model_zoo.architectures"
    wide = importlib.import_module(f"{architectures}.wide_resnet").WideResNet(depth=10, widen_factor=1)
    normalise = importlib.import_module(f"{architectures}.utils_architectures").normalize_model
    torch.manual_seed(0)
    model: nn.Module = normalise(wide, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)).eval()
    x = torch.rand(4, 3, 32, 32)
    y = model(x).argmax(dim=1)
    report = evaluate(model, x, y, {"ART": art_pgd(eps=0.1, max_iter=3), "native": partial(pgd, eps=0.1, max_iter=3)})
    assert report.clean.all()
    assert not report.worst.all()
    assert benchmark(model, 2, eps=0.1, x_test=x, y_test=y)[0] == 1


@pytest.fixture
def small(robustbench: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, nn.Module]:
    """A small network, and the name of the one of the zoo (CIFAR10, L_2) whose place it takes."""
    zoo = robustbench.model_zoo.model_dicts
    (models,) = (models for threat, models in next(iter(zoo.values())).items() if threat.value == "L2")
    name = "Augustin2020Adversarial"
    assert name in models
    made = {"model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "gdrive_id": "none"}
    monkeypatch.setitem(models, name, made)
    return name, made["model"]()  # type: ignore[operator]


def kept(network: nn.Module, name: str, folder: Path) -> Path:
    """The file of the network where RobustBench keeps it, under names as it has them."""
    file = folder / "cifar10" / "L2" / f"{name}.pt"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, file)
    return file


@installed
def test_a_network_of_the_zoo_comes_from_a_folder(tmp_path: Path, small: tuple[str, nn.Module]) -> None:
    name, network = small
    with pytest.raises(FileNotFoundError, match=f"^model_dir: .*{name}.pt is not there; --download"):
        zoo_model(name, tmp_path, threat_model="L2")
    assert list(tmp_path.iterdir()) == []
    file = kept(network, name, tmp_path)
    found, paths = zoo_model(name, tmp_path, threat_model="L2")
    assert paths == (file,)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(found(x), network(x))
    torch.save(network, file)
    with pytest.raises(ValueError, match="is not a file of PyTorch weights: .* could run code"):
        zoo_model(name, tmp_path, threat_model="L2")


@installed
def test_the_command_line_evaluates_a_network_of_the_zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[str, nn.Module], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name, network = small
    options = ["--arch-args", '{"threat_model": "L2"}', "--model-root", ".", "--data", "digits", "--nb-examples", "20"]
    command = ["evaluate", "--arch", f"robustbench:{name}", *options, "--eps", "0.1", "--max-iter", "2"]
    assert main(command) == 2
    assert f"--model-root: cifar10/L2/{name}.pt is not there; --download" in capsys.readouterr().err
    file = kept(network, name, tmp_path)
    assert main(command) == 0
    record = read_record("record.json")
    assert (record.architecture, record.name) == (f'robustbench:{name} {{"threat_model": "L2"}}', name)
    assert record.weights is not None
    assert record.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@installed
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Carmon2019Unlabelled",
            {},
            "no network 'Carmon2019Unlabelled' of cifar10, Linf: did you mean Carmon2019",
        ),
        ("Carmon2019Unlabeled", {"dataset": "mnist"}, "dataset must be one of cifar10, cifar100, imagenet"),
        ("Carmon2019Unlabeled", {"threat_model": "L1"}, "threat_model must be one of "),
    ],
)
def test_what_is_not_in_the_zoo_is_refused(tmp_path: Path, name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo_model(name, tmp_path, **options)  # type: ignore[arg-type]


@installed
def test_ensembles_of_the_zoo_have_several_files_and_some_networks_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Chen2020Adversarial.pt_m0.pt is not there"):
        zoo_model("Chen2020Adversarial", tmp_path)
    with pytest.raises(FileNotFoundError, match="Debenedetti2022Light_XCiT-S12 has no file of its own in RobustBench"):
        zoo_model("Debenedetti2022Light_XCiT-S12", tmp_path)
