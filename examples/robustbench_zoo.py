"""
A network of RobustBench's zoo: its loading code, our attacks, and RobustBench's benchmark by its own signature.

    pip install "art-levelset[robustbench,autoattack]"
    python examples/robustbench_zoo.py --data-dir data      # downloads 50 MB of weights and CIFAR10; wants a GPU
    python examples/robustbench_zoo.py --fast               # the same network unlearned, on noise: no download
"""

import argparse

import torch

from art_levelset import benchmark, evaluate
from art_levelset.adapters.robustbench import robustbench_library
from art_levelset.evaluation.datasets import load

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--name", default="Wong2020Fast", help="of https://robustbench.github.io, CIFAR10, Linf")
parser.add_argument("--data-dir", default="data", help="where weights and images are, or go")
parser.add_argument("-n", type=int, default=200, help="number of test images")
parser.add_argument("--fast", action="store_true", help="random weights and images: only shows that it works")
arguments = parser.parse_args()

robustbench_library()  # `import robustbench` with two modules supplied that it lacks beside a current setuptools
from robustbench.model_zoo import model_dicts  # noqa: E402
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel  # noqa: E402
from robustbench.utils import load_model  # noqa: E402

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
if arguments.fast:
    model = model_dicts[BenchmarkDataset.cifar_10][ThreatModel.Linf][arguments.name]["model"]().eval()
    x = torch.rand(8, 3, 32, 32)
    y = model(x).argmax(dim=1)
else:
    folder = f"{arguments.data_dir}/models"
    model = load_model(arguments.name, model_dir=folder, dataset="cifar10", threat_model="Linf")
    images = load("cifar10", data_root=arguments.data_dir)
    x, y = torch.from_numpy(images.x[: arguments.n]), torch.from_numpy(images.y[: arguments.n])
model.to(device)

EPS = 8 / 255
steps = 2 if arguments.fast else 40
names = ["pgd-ce", "pgd-margin"]
print(evaluate(model, x, y, names, eps=EPS, max_iter=steps, verbose=False).table())
if not arguments.fast:  # AutoAttack: minutes on a GPU
    clean, robust = benchmark(model, arguments.n, "cifar10", "Linf", eps=EPS, x_test=x, y_test=y, device=device)
    print(f"AutoAttack on {len(x)} images: clean {clean:.2%}, robust {robust:.2%}")
