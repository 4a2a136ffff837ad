"""An evaluation in one sentence, what to doubt of it, and what to do next."""

from __future__ import annotations

from art_levelset.evaluation.accuracy import wilson
from art_levelset.evaluation.record import Record

CLOSE = 0.02
"""The fraction by which the strongest attacks may differ before that is worth a word."""

WIDE = 0.02
"""The half length of an interval from which on more images are advised."""


def verdict(record: Record) -> str:
    """
    The robust accuracy in a sentence, with its interval.

    :param record: The record of the evaluation.
    :return: One line.
    """
    where = f"{record.threat_model} {record.eps}, {record.n_examples:,} images of {record.dataset}"
    if record.estimate is not None:
        accuracy, (low, high) = record.estimate.worst_case, record.estimate.worst_case_interval
        return (
            f"{record.name} withstands {accuracy:.1%} with AutoAttack (95% interval of the estimate "
            f"{low:.1%}-{high:.1%}; {where})"
        )
    accuracy = record.worst_case.accuracy
    low, high = wilson(accuracy * record.n_examples, record.n_examples)
    best = "" if record.autoattack_acc else ", at most: attacks can only lower it"
    return f"{record.name} withstands {accuracy:.1%} (95% interval {low:.1%}-{high:.1%}; {where}){best}"


def doubts(record: Record) -> list[str]:
    """
    What speaks against believing the figure.

    :param record: The record of the evaluation.
    :return: Some sentences, the weightiest first; empty where nothing does.
    """
    found = []
    if record.unreliable:
        found.append(f"the network is doubtful: {record.footnote}" if record.footnote else "the network is doubtful")
    if record.failed_checks:
        names = ", ".join(check.check for check in record.failed_checks)
        found.append(f"its gradients seem to be masked ({names}): attacks that use them overestimate it")
    strong = record.estimate is not None or any(
        attack.parameters.get("name") in ("AutoAttack", "PartialAutoAttack", "Guided") for attack in record.attacks
    )
    if not strong:
        found.append("no strong attack was run: PGD alone may be points too high")
    elif record.masking is None:
        found.append("no checks for masked gradients were made")
    elif not any(check.judged for check in record.masking):
        found.append("no check for masked gradients could be judged")
    low, high = record.worst_case.interval
    if (high - low) / 2 > WIDE:
        found.append(f"{record.n_examples:,} images leave +-{(high - low) / 2:.1%} for other images like these")
    return found


def next_step(record: Record) -> str | None:
    """
    The option of `art-levelset evaluate` that would settle most.

    :param record: The record of the evaluation.
    :return: What to add to the command; None where nothing is missing.
    """
    names = {attack.parameters.get("name") for attack in record.attacks}
    strongest = names & {"AutoAttack", "PartialAutoAttack"}
    if record.failed_checks and not strongest:
        return "--attacks guided autoattack"
    if not strongest and "Guided" not in names and record.threat_model in ("Linf", "L2"):
        return "--attacks pgd-ce pgd-margin guided"
    if record.estimate is None and not record.autoattack_acc:
        return "--preset standard"
    if record.masking is None:
        return "--masking"
    return None
