"""
What became of each image, in a file beside the record: all that its accuracies and intervals are computed from.

It is an `.npz` file that NumPy reads, whose SHA-256 the record has. For n images, a attacks and r repeats it holds

- `position` and `label`, (n,): the place of each image in the test set, and its class; `clean`, (n,): whether it is
  classified right as it is;
- `attacks`, (a,): their names; `members`, (a, m): the names of an ensemble's attacks, "" where there are no more;
- `right`, (a, r, n): whether it is classified right after the attack; `broken_by`, (a, r, n): the place of the member
  that broke it, or -1; `distance`, (a, r, n): the distance to the nearest misclassified point that the attack found, in
  its norm, infinite where it found none;
- `curves`, (c,) and `curve_distance`, (c, n), where margin curves were measured: the same distances of their searches;
- where AutoAttack's accuracy was estimated, `stratum`, (n,): the place of each image among the strata, -1 for those
  misclassified as they are; `phase`, (n,): 1 if it was drawn for AutoAttack in the pilot, 2 after it, 0 if not; and
  `drawn_right`, `drawn_broken_by`, `drawn_distance`, (n,), and `drawn_members`, (m,): what AutoAttack did to those.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.evaluation.accuracy import wilson
from art_levelset.evaluation.distances import margin_curve
from art_levelset.evaluation.estimate import PILOT, REST, Estimated, drawn_stratum
from art_levelset.evaluation.record import Record, WorstCase, percent
from art_levelset.evaluation.record_outcomes import Estimate
from art_levelset.evaluation.strata import Drawn, Stratum, accuracies
from art_levelset.evaluation.suite import Attacked
from art_levelset.files import write_bytes
from art_levelset.untrusted import Arrays, read_bytes

MOST = 1 << 28
"""The most bytes of such a file: 256 MiB."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """
    What became of each image, by the names of the arrays in the file.

    :param arrays: The arrays, as the module describes them.
    :raises ValueError: If one is missing, unknown, of another shape or type, or out of range.
    """

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        _check(self.arrays)

    @classmethod
    def of(
        cls,
        labels: Array,
        clean: Array,
        attacks: tuple[Attacked, ...],
        curves: Mapping[str, Array],
        estimated: Estimated | None,
        first: int = 0,
    ) -> Outcomes:
        """
        Collect what was found.

        :param labels: The labels, (n,).
        :param clean: Whether each image is classified right as it is, (n,).
        :param attacks: How the network fared under each attack.
        :param curves: Boundary distances, (n,), by the names of the margin curves.
        :param estimated: What AutoAttack left of some.
        :param first: The place of the first image in the test set, >= 0.
        :return: The outcomes.
        """
        most = max(len(one.members) for one in attacks)
        arrays: dict[str, Array] = {
            "position": first + np.arange(len(clean)),
            "label": labels.astype(np.int64),
            "clean": clean,
            "attacks": np.array([one.name for one in attacks], dtype=np.str_),
            "members": np.array([[*one.members, *[""] * (most - len(one.members))] for one in attacks], dtype=np.str_),
            "right": np.stack([one.right for one in attacks]),
            "broken_by": np.stack([one.broken_by for one in attacks]),
            "distance": np.stack([one.distances for one in attacks]),
        }
        if curves:
            arrays |= {"curves": np.array([*curves], dtype=np.str_), "curve_distance": np.stack([*curves.values()])}
        if estimated is not None:
            arrays |= {
                "stratum": estimated.stratum,
                "phase": estimated.phase,
                "drawn_right": estimated.right,
                "drawn_broken_by": estimated.broken_by,
                "drawn_distance": estimated.distances,
                "drawn_members": np.array(estimated.members, dtype=np.str_),
            }
        return cls(arrays)

    def contents(self) -> bytes:
        """
        The file.

        :return: Its bytes, the same ones for the same outcomes.
        """
        file = io.BytesIO()
        np.savez_compressed(file, **self.arrays)  # type: ignore[arg-type]  # numpy takes the flag of the same kind
        return file.getvalue()

    def sha256(self) -> str:
        """
        The hash of the file.

        :return: 64 hexadecimal digits.
        """
        return hashlib.sha256(self.contents()).hexdigest()


def write_outcomes(outcomes: Outcomes, path: str | PathLike[str]) -> None:
    """
    Write outcomes; the file is there completely or not at all.

    :param outcomes: The outcomes.
    :param path: The file, in a folder that exists; an existing file is replaced.
    :raises OSError: If the file cannot be written.
    """
    write_bytes(outcomes.contents(), Path(path))


def read_outcomes(record: Record, folder: str | PathLike[str]) -> Outcomes:
    """
    Read the outcomes that a record names, and check that they are its own.

    :param record: The record.
    :param folder: The folder in which it is.
    :return: The outcomes.
    :raises ValueError: If the record names none, or the file is not the one that it names or damaged.
    :raises OSError: If the file cannot be read.
    """
    if record.outcomes is None:
        raise ValueError("record names no file of outcomes")
    path = Path(folder) / record.outcomes.file
    content = read_bytes(path, MOST)
    if hashlib.sha256(content).hexdigest() != record.outcomes.sha256:
        raise ValueError(f"{path}: is not the file of the record: its SHA-256 is another one")
    try:
        with Arrays(io.BytesIO(content)) as arrays:
            outcomes = Outcomes(dict(arrays))
        if len(outcomes.arrays["clean"]) != record.n_examples:
            raise ValueError(f"holds {len(outcomes.arrays['clean']):,} images, the record {record.n_examples:,}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return outcomes


def recompute(record: Record, outcomes: Outcomes) -> Record:
    """
    Compute every accuracy and interval of a record again, from what became of each image.

    :param record: The record.
    :param outcomes: Its outcomes.
    :return: The record with these figures: equal to the record, if its own are right.
    :raises ValueError: If they are not of the same attacks, curves or strata.
    """
    arrays = outcomes.arrays
    clean, n = arrays["clean"], len(arrays["clean"])
    if [one.name for one in record.attacks] != arrays["attacks"].tolist():
        raise ValueError("outcomes: the attacks are not those of the record")
    results = []
    for attack, right in zip(record.attacks, arrays["right"], strict=True):
        fraction = float(right.mean())
        deviation = float(right.mean(axis=1).std(ddof=1)) if len(right) > 1 else None
        changed = {"accuracy": fraction, "interval": wilson(fraction * n, n), "deviation": deviation, "n_examples": n}
        results.append(attack.model_copy(update=changed))
    worst = float((clean & arrays["right"].all(axis=(0, 1))).mean())
    curves = dict(zip(arrays.get("curves", np.empty(0)).tolist(), arrays.get("curve_distance", ()), strict=True))
    if {*curves} != {curve.name for curve in record.margin_curves}:
        raise ValueError("outcomes: the margin curves are not those of the record")
    changes = {
        "clean_acc": percent(float(clean.mean())),
        "clean_interval": wilson(float(clean.mean()) * n, n),
        "attacks": tuple(results),
        "worst_case": WorstCase(accuracy=worst, interval=wilson(worst * n, n)),
        "margin_curves": tuple(margin_curve(curves[one.name], one.eps, name=one.name) for one in record.margin_curves),
        "estimate": None if record.estimate is None else _estimate(record.estimate, outcomes),
    }
    standard = [one for one in results if _is_standard(one.parameters)]
    changes["autoattack_acc"] = percent(standard[0].accuracy) if standard else ""
    return Record(**{**dict(record), **changes})


def _is_standard(parameters: Mapping[str, Any]) -> bool:
    return parameters.get("name") == "AutoAttack" and parameters.get("version") == "standard"


def _estimate(found: Estimate, outcomes: Outcomes) -> Estimate:
    arrays = outcomes.arrays
    if "stratum" not in arrays:
        raise ValueError("outcomes: what was drawn for AutoAttack is missing")
    if len(found.strata) != int(arrays["stratum"].max(initial=-1)) + 1:
        raise ValueError("outcomes: the strata are not those of the record")
    drawn = [*_drawn(found, arrays)]
    (own, interval), (worst, within) = accuracies(drawn, len(arrays["stratum"]))
    changes = {
        "accuracy": own,
        "interval": interval,
        "worst_case": worst,
        "worst_case_interval": within,
        "drawn": sum(len(one.right) for one in drawn),
        "strata": tuple(drawn_stratum(one) for one in drawn),
    }
    return Estimate(**{**dict(found), **changes})


def _drawn(found: Estimate, arrays: Mapping[str, Array]) -> Iterator[Drawn]:
    broken_before = arrays["clean"] & ~arrays["right"].all(axis=(0, 1))
    for place, one in enumerate(found.strata):
        inside = arrays["stratum"] == place
        pilot, rest = (np.flatnonzero(inside & (arrays["phase"] == phase)) for phase in (PILOT, REST))
        rows = np.flatnonzero(inside)
        if len(set(broken_before[rows].tolist())) != 1 or not len(pilot) or (len(pilot) < len(rows) and not len(rest)):
            raise ValueError(f"outcomes: stratum {place} is not as it is drawn")
        stratum = Stratum(one.name, rows, 0.5, broken=bool(broken_before[rows[0]]))
        yield Drawn(stratum, pilot, rest, arrays["drawn_right"][np.concatenate([pilot, rest])])


def _check(arrays: Mapping[str, Array]) -> None:
    parts: list[tuple[str, ...]] = [_ALWAYS]
    parts += [names for names in (("curves", "curve_distance"), _DRAWN) if {*names} & {*arrays}]
    if {*arrays} != {*itertools.chain(*parts)}:
        odd = min({*arrays} ^ {*itertools.chain(*parts)})
        raise ValueError(f"{odd!a:.80} is missing, or no array of outcomes")
    n, right = len(arrays["clean"]) if arrays["clean"].ndim else 0, arrays["right"]
    if right.ndim != 3 or not all(right.shape):
        raise ValueError("right must be (attacks, repeats, images), none of them 0")
    all_of, names = right.shape, len(arrays["attacks"]) if arrays["attacks"].ndim else 0
    wanted = {
        **dict.fromkeys(("position", "label", "stratum", "phase", "drawn_broken_by"), ("i", (n,))),
        **dict.fromkeys(("clean", "drawn_right"), ("b", (n,))),
        "drawn_distance": ("f", (n,)),
        "attacks": ("U", (len(right),)),
        "members": ("U", (len(right), None)),
        "right": ("b", (names, None, n)),
        "broken_by": ("i", all_of),
        "distance": ("f", all_of),
        "curves": ("U", (None,)),
        "curve_distance": ("f", (len(arrays.get("curves", ())), n)),
        "drawn_members": ("U", (None,)),
    }
    for name, array in arrays.items():
        kind, shape = wanted[name]
        sides = len(shape) == array.ndim and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
        if array.dtype.kind != kind or not sides:
            raise ValueError(f"{name} must be of kind {kind!r} and {shape}, got {array.dtype} {array.shape}")
    ranges: dict[str, tuple[int, float]] = {
        **dict.fromkeys(("position", "label"), (0, math.inf)),
        "stratum": (-1, n - 1),
        "phase": (0, 2),
        "broken_by": (-1, arrays["members"].shape[1] - 1),
        "drawn_broken_by": (-1, len(arrays.get("drawn_members", ())) - 1),
    }
    for name, (least, most) in ranges.items():
        values = arrays.get(name, np.zeros(0, dtype=np.int64))
        if values.size and not least <= values.min() <= values.max() <= most:
            raise ValueError(f"{name} must be in [{least}, {most:g}]")
    for name in ("distance", "curve_distance", "drawn_distance"):
        if not (arrays.get(name, np.zeros(0)) >= 0).all():  # NaN is not, either
            raise ValueError(f"{name} must be >= 0")
    if (right & ~arrays["clean"]).any():
        raise ValueError("right must not be true where clean is false")


_ALWAYS = ("position", "label", "clean", "attacks", "members", "right", "broken_by", "distance")
_DRAWN = ("stratum", "phase", "drawn_right", "drawn_broken_by", "drawn_distance", "drawn_members")
