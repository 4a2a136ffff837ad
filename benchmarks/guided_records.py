"""
The guided ensemble beside AutoAttack in records that have both: on all images, and on those that both attacked.

    python benchmarks/guided_records.py results/mnist_10000/*.json

Of a record of `art-levelset evaluate --preset quick --autoattack estimate` it prints what the guided ensemble leaves of
all images and what AutoAttack would leave, estimated, with the 95% interval for the drawing; then, of the images that
were drawn for AutoAttack, how many stand against each and how many only one of the two breaks; and at last how many
times fewer passes, forward and backward, and how many times fewer seconds the ensemble takes for all images than
AutoAttack would.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from art_levelset.evaluation.outcomes import read_outcomes
from art_levelset.evaluation.record import read_record

COLUMNS = (
    "network",
    "guided",
    "AutoAttack",
    "drawn",
    "stand against AutoAttack",
    "against guided",
    "broken by AutoAttack only",
    "by guided only",
    "times fewer passes",
    "times less time",
)


def row(path: Path) -> list[str]:
    """
    The row of a record.

    :param path: The record, with its outcomes beside it.
    :return: The cells.
    :raises ValueError: If it has no guided ensemble or no estimate.
    """
    record = read_record(path)
    guided = next((attack for attack in record.attacks if attack.name == "guided"), None)
    if guided is None or record.estimate is None:
        raise ValueError(f"{path}: needs a guided ensemble and an estimate of AutoAttack")
    arrays, estimate = read_outcomes(record, path.parent).arrays, record.estimate
    place = arrays["attacks"].tolist().index("guided")
    drawn = arrays["phase"] > 0
    ours, theirs = arrays["right"][place, 0][drawn], arrays["drawn_right"][drawn]
    passes = guided.forward_passes + guided.gradient_evaluations
    whole = estimate.full_forward_passes + estimate.full_gradient_evaluations
    low, high = estimate.interval
    counts = [drawn.sum(), theirs.sum(), ours.sum(), (ours & ~theirs).sum(), (theirs & ~ours).sum()]
    return [
        record.name,
        f"{guided.accuracy:.2%}",
        f"{estimate.accuracy:.2%} [{100 * low:.1f}, {100 * high:.1f}]",
        *map(str, counts),
        f"{whole / passes:.1f}",
        f"{estimate.full_seconds / guided.seconds:.1f}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD", help="records with their outcomes")
    arguments = parser.parse_args()
    rows = [row(path) for path in arguments.records]
    for cells in (COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 1)], *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
