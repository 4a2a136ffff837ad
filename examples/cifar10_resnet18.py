"""
The recipe for CIFAR10 with ResNet-18 on a GPU: the paper's preset or this project's, in bfloat16, killed runs go on.

    python examples/cifar10_resnet18.py --data-root data                    # this project's: 30 epochs
    python examples/cifar10_resnet18.py --data-root data --preset paper-cifar10-resnet18     # the paper's: 200 epochs
    torchrun --nproc-per-node 4 -m art_levelset train --preset cifar10-resnet18 --data cifar10 --data-root data \
        --device cuda --bf16 --compile --checkpoint-dir run -o cifar10.pth                   # on several GPUs

No GPU was at hand when this was written: on CIFAR10 the repository has measured short runs on a CPU only
(docs/results/table1.md). `--fast` makes one step of 32 images of noise.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier

from art_levelset import evaluate
from art_levelset.evaluation.datasets import load
from art_levelset.models import resnet_18
from art_levelset.trainers import PRESETS, Execution

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--data-root", default="data", help="torchvision's folder; what is missing is downloaded")
parser.add_argument("--preset", default="cifar10-resnet18", choices=[name for name in PRESETS if "resnet18" in name])
parser.add_argument("--fast", action="store_true", help="one step on noise, on the CPU")
arguments = parser.parse_args()

gpu = torch.cuda.is_available() and not arguments.fast
preset = PRESETS[arguments.preset]
execution = Execution(bf16=gpu, channels_last=gpu, compile=gpu)
preset = replace(preset, options={**preset.options, "execution": execution})
if arguments.fast:
    x = np.random.default_rng(0).uniform(size=(32, 3, 32, 32)).astype(np.float32)
    y = np.arange(32) % 10
    x_test, y_test, preset = x[:8], y[:8], replace(preset, nb_epochs=1, options={**preset.options, "max_iter": 1})
else:
    train, test = (load("cifar10", data_root=arguments.data_root, train=part) for part in (True, False))
    x, y, x_test, y_test = train.x, train.y, test.x[:1000], test.y[:1000]

torch.manual_seed(0)
model = resnet_18(nb_classes=10)
optimizer = preset.optimizer(model.parameters())
classifier = PyTorchClassifier(
    model, torch.nn.CrossEntropyLoss(), (3, 32, 32), 10, optimizer=optimizer, clip_values=(0, 1),
    device_type="gpu" if gpu else "cpu",
)  # fmt: skip
scheduler, callbacks = preset.schedule(optimizer)
preset.trainer(classifier, seed=0).fit(
    x, y, batch_size=preset.batch_size, nb_epochs=preset.nb_epochs, scheduler=scheduler, callbacks=callbacks,
    augmentation=preset.augmentation, csv_file="cifar10.csv", checkpoint_dir="cifar10-run", verbose=not arguments.fast,
)  # fmt: skip
torch.save(model.state_dict(), "cifar10.pth")
attacks = ["pgd-ce", "pgd-margin"]  # and "autoattack", for the number to publish
report = evaluate(classifier, x_test, y_test, attacks, eps=8 / 255, max_iter=2 if arguments.fast else 40, verbose=gpu)
print(report.table())
