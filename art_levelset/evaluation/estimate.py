"""
An estimate of AutoAttack's accuracy on a whole test set, from AutoAttack on the images that need it.

Nearly all of AutoAttack's cost is spent on images that stand and are far from the boundary, of which it breaks next to
none. Here a random part of every stratum of found distances (:mod:`art_levelset.evaluation.strata`) gets standard
AutoAttack, and all of what is nearest. Two accuracies are estimated, both without bias over the drawing:

- *AutoAttack's own*: what its four attacks would leave of the whole test set. Images that other attacks have broken
  count as what AutoAttack says of those of them that are drawn.
- the *worst case* with AutoAttack: what it and the attacks that have been run leave together. Images that these have
  broken are broken, whatever AutoAttack says. It is at most AutoAttack's own, and the figure to report.

The intervals (:mod:`art_levelset.evaluation.stratified`) are for the drawing: they hold with 95% what AutoAttack would
leave of *these* images, all of them attacked. How sure the accuracy is for other images, Wilson's interval tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.attacks.effort import Effort
from art_levelset.attacks.protocol import Attack, seed_of
from art_levelset.attacks.work import Piece, batches_of, check_complete, finished
from art_levelset.evaluation.record_outcomes import DrawnStratum, Estimate
from art_levelset.evaluation.strata import Drawn, accuracies, draw, strata_of
from art_levelset.evaluation.suite import RobustMask, Task, merged, piece_of, settings_of
from art_levelset.progress import progress_bar

BATCH = 50
"""The most images in one call of AutoAttack: what is lost when a run is killed."""

PILOT, REST = 1, 2
"""The phases in which images are drawn; 0 are those that are not."""


@dataclass(frozen=True, eq=False)
class Estimated:
    """
    What AutoAttack left of the images that were drawn for it.

    :param parameters: What AutoAttack was.
    :param reach: Half the length of the interval that was asked for, > 0.
    :param strata: The strata, with what was drawn of each.
    :param phase: In which phase each image was drawn, (n,): 0 for not, then 1 and 2.
    :param stratum: The stratum of each image, (n,): its place in `strata`; -1 for those misclassified as they are.
    :param right: Whether the network withstands AutoAttack, (n,); False where it was not drawn.
    :param broken_by: Which of AutoAttack's attacks broke each image, (n,); -1 for none.
    :param distances: How far the example is that broke it, (n,), float32; infinite where there is none.
    :param members: The names of AutoAttack's attacks.
    :param efforts: What each stratum has cost.
    :param notes: The warnings that AutoAttack gave.
    """

    parameters: Mapping[str, Any]
    reach: float
    strata: tuple[Drawn, ...]
    phase: NDArray[np.int64]
    stratum: NDArray[np.int64]
    right: RobustMask
    broken_by: NDArray[np.int64]
    distances: NDArray[np.float32]
    members: tuple[str, ...]
    efforts: tuple[Effort, ...]
    notes: tuple[str, ...]

    @property
    def effort(self) -> Effort:
        """What AutoAttack has cost."""
        total = Effort()
        for effort in self.efforts:
            total.add(effort)
        return total

    @property
    def full(self) -> Effort:
        """What AutoAttack would cost on all images, if others cost what the drawn ones of their stratum do."""
        total = Effort()
        for one, effort in zip(self.strata, self.efforts, strict=True):
            times = len(one.stratum.rows) / len(one.right)
            total.add(Effort(effort.seconds * times, round(effort.forwards * times), round(effort.gradients * times)))
        return total

    def result(self) -> Estimate:
        """
        The estimate as a part of a record.

        :return: Its figures.
        """
        (own, interval), (worst, within) = accuracies(self.strata, len(self.phase))
        spent, full = self.effort, self.full
        return Estimate(
            parameters=dict(self.parameters),
            accuracy=own,
            interval=interval,
            worst_case=worst,
            worst_case_interval=within,
            asked=self.reach,
            drawn=int((self.phase > 0).sum()),
            strata=tuple(drawn_stratum(one) for one in self.strata),
            seconds=spent.seconds,
            forward_passes=spent.forwards,
            gradient_evaluations=spent.gradients,
            full_seconds=full.seconds,
            full_forward_passes=full.forwards,
            full_gradient_evaluations=full.gradients,
            notes=self.notes,
        )

    def text(self) -> str:
        """
        The estimate for a terminal.

        :return: Some lines: the figures, where AutoAttack was run, and what it has cost.
        """
        found = self.result()
        (low, high), (worst_low, worst_high) = found.interval, found.worst_case_interval
        lines = [
            f"AutoAttack, estimated: {found.accuracy:.2%}, 95% interval {low:.2%}-{high:.2%}; "
            f"worst case with it: {found.worst_case:.2%}, {worst_low:.2%}-{worst_high:.2%}",
            f"  {'stratum':<24}{'images':>8}{'drawn':>8}{'broken':>8}",
        ]
        for one in found.strata:
            drawn, broken = one.pilot + one.drawn, one.pilot_broken + one.broken
            lines.append(f"  {one.name:<24}{one.n_examples:>8,}{drawn:>8,}{broken:>8,}")
        passes = found.forward_passes + found.gradient_evaluations
        spent, whole = found.seconds, found.full_forward_passes + found.full_gradient_evaluations
        lines.append(
            f"  AutoAttack on {found.drawn:,} of {len(self.phase):,} images: {passes:,} passes, {spent:,.0f} s; "
            f"on all about {whole:,} passes, {found.full_seconds:,.0f} s"
        )
        if (high - low) / 2 > self.reach * (1 + 1e-9):
            lines.append(
                f"  the interval is +-{(high - low) / 2:.2%}, longer than the +-{self.reach:.2%} that was asked for: "
                "AutoAttack broke more than its pilot let expect; ask for a shorter one"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def estimate(
    task: Task,
    attack: Attack,
    clean: RobustMask,
    worst: RobustMask,
    distances: NDArray[np.floating[Any]],
    *,
    eps: float,
    reach: float,
    batch_size: int,
    verbose: bool,
) -> Estimated:
    """
    Estimate what an attack leaves of a test set.

    :param task: The network and the images.
    :param attack: Standard AutoAttack.
    :param clean: Whether each image is classified right as it is, (n,).
    :param worst: Whether each image is classified right after every attack that has been run, (n,).
    :param distances: The distance of each to the nearest misclassified point found, (n,); infinite where none was.
    :param eps: The radius, > 0.
    :param reach: Half the length of the interval that is asked for, > 0.
    :param batch_size: The most images in one call of the attack, >= 1.
    :param verbose: Whether to show a progress bar.
    :return: The estimate.
    """
    n = len(task.subject)
    strata = strata_of(clean, worst, distances, eps)
    stratum, phase = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for place, one in enumerate(strata):
        stratum[one.rows] = place
    right, broken_by = np.zeros(n, dtype=bool), np.full(n, -1, dtype=np.int64)
    far = np.full(n, np.inf, dtype=np.float32)
    efforts, notes, members = [Effort() for _ in strata], list[str](), list[str]()
    size = min(BATCH, batch_size)

    with progress_bar(total=0, desc="AutoAttack", unit="sample", verbose=verbose) as progress:

        def run(drawn: Sequence[NDArray[np.intp]]) -> list[RobustMask]:
            progress.total = (progress.total or 0) + sum(map(len, drawn))
            places, batches, pieces = list[int](), list[NDArray[np.intp]](), list[Piece]()
            for place, rows in enumerate(drawn):
                done = int((phase[strata[place].rows] > 0).sum())
                phase[rows] = REST if done else PILOT
                for first, some in zip(range(0, len(rows), size), batches_of(rows, size), strict=True):
                    seed = seed_of(task.seed, place, done + first)
                    places.append(place)
                    batches.append(some)
                    pieces.append(piece_of(task, attack, some, len(pieces), seed))
            for place, some, found in zip(places, batches, finished(pieces, task.memo), strict=True):
                progress.update(len(some))
                if found is None:  # another shard's
                    continue
                right[some], broken_by[some] = found["right"], found["broken_by"]
                far[some] = np.where(found["right"], np.inf, found["distances"])
                efforts[place].add(Effort.of(found["effort"]))
                notes.extend(found["notes"].tolist())
                members[:] = [name for name in found["members"].tolist() if name != "clean"]
            check_complete(task.memo)
            return [right[rows] for rows in drawn]

        drawn = draw(strata, n, reach, run, task.seed)
    return Estimated(
        settings_of(attack),
        reach,
        tuple(drawn),
        phase,
        stratum,
        right,
        broken_by,
        far,
        tuple(members),
        tuple(efforts),
        merged(notes),
    )


def drawn_stratum(one: Drawn) -> DrawnStratum:
    """
    A stratum as a part of a record.

    :param one: The stratum, with what was drawn of it.
    :return: Its counts.
    """
    return DrawnStratum(
        name=one.stratum.name,
        n_examples=len(one.stratum.rows),
        known_broken=one.stratum.broken,
        pilot=len(one.pilot),
        pilot_broken=one.known,
        drawn=len(one.rest),
        broken=int(one.draw.broken),
    )
