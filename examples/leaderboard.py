"""
A folder of weights becomes a folder of records, and that a leaderboard: in the terminal, in Markdown, as a page.

    python examples/leaderboard.py                    # 33 seconds of one core; trains three networks to rank
    python examples/leaderboard.py --models FOLDER    # yours: state_dicts of ConvNet-2a for 8 x 8 digits, *.pth
"""

import argparse
from pathlib import Path

import torch
from art.estimators.classification import PyTorchClassifier

from art_levelset import LevelSetMarginTrainer, evaluate
from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.leaderboard import markdown, text
from art_levelset.evaluation.page import html
from art_levelset.evaluation.record import read_records, write_record
from art_levelset.models import convnet_2a, load_weights

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--models", type=Path, default=Path("models"))
parser.add_argument("--fast", action="store_true", help="one epoch, 20 images: only shows that it works")
arguments = parser.parse_args()

EPS = 0.15
(x, y), (x_test, y_test) = digits()
shown = slice(20 if arguments.fast else 500)
board = Path("board")
board.mkdir(exist_ok=True)

if not arguments.models.exists():
    arguments.models.mkdir()
    for eps in (None, 0.1, 0.2):
        torch.manual_seed(0)
        model = convnet_2a(10, (1, 8, 8))
        optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
        loss = torch.nn.CrossEntropyLoss()
        classifier = PyTorchClassifier(model, loss, (1, 8, 8), 10, optimizer, clip_values=(0, 1), device_type="cpu")
        trainer = classifier if eps is None else LevelSetMarginTrainer(classifier, eps=eps, seed=0)
        trainer.fit(x, y, batch_size=64, nb_epochs=1 if arguments.fast else 20, verbose=False)
        name = "cross_entropy" if eps is None else f"level_sets_{eps}"
        torch.save(model.state_dict(), arguments.models / f"{name}.pth")

for file in sorted(arguments.models.glob("*.pth")):
    model = load_weights(convnet_2a(10, (1, 8, 8)), file)  # reads tensors only, never code
    names = ["pgd-ce", "pgd-margin", "pgd-dlr"]
    steps = 5 if arguments.fast else 40
    report = evaluate(model, x_test[shown], y_test[shown], names, eps=EPS, max_iter=steps, masking=True, verbose=False)
    record = report.record(name=file.stem.replace("_", " "), dataset="digits", architecture="ConvNet-2a")
    write_record(record, board / f"{file.stem}.json")

records = read_records(board)
print(text(records))
Path("board.md").write_text(markdown(records), encoding="utf-8")
Path("board.html").write_text(html(records), encoding="utf-8")
print("wrote board/*.json, board.md and board.html")
