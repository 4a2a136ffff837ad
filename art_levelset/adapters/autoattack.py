"""
AutoAttack, through pyautoattack: an ensemble of attacks without parameters, each on the samples that survive so far.

| Paper link: https://arxiv.org/abs/2003.01690
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.adapters.libraries import library
from art_levelset.attacks.effort import Effort, measured
from art_levelset.attacks.inputs import Array, SameArray
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import LibraryAttack, Outcome
from art_levelset.core.balls import NAMES

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "partial": ("apgd-ce", "fab", "square"),
}
"""The attacks of each version, in their order. "partial" is none of AutoAttack's own."""

LOGGER = "auto-attack"
"""The name of pyautoattack's logger."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AutoAttack:
    """
    AutoAttack, called as `attack(model, x, y) -> x_adv`. Inputs are images with values in [0, 1].

    It needs four classes. The version "partial" is what is left of it for fewer, and for inputs that are no images,
    which Square cannot attack: records call it "PartialAutoAttack", since its accuracies are not those of AutoAttack.

    With a memory on disk a killed run goes on after the last finished attack of the last batch.

    :param eps: Radius of the ball, >= 0.
    :param norm: `math.inf`, 2 or 1.
    :param version: "standard"; "plus", with the untargeted attacks too; "rand", for networks with random outputs;
           "partial", for few classes and inputs of any shape.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished work is kept; in this process by default.
    :raises ImportError: If pyautoattack is missing or too old.
    :raises ValueError: If a number is out of range or the version unknown.
    """

    eps: float
    norm: float = math.inf
    version: str = "standard"
    batch_size: int = 100
    seed: int = 0
    memo: Memo = field(default_factory=Memo, repr=False)

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {self.version!r}")
        self._attack({}, [], Effort())

    def __call__(self, model: Any, x: SameArray, y: Array) -> SameArray:
        """
        Attack samples.

        :param model: An nn.Module (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
        :param x: Samples, (batch, channels, height, width), of the version "partial" (batch, ...), floating point, in
               [0, 1].
        :param y: Labels, (batch,) integers or (batch, classes) one-hot.
        :return: As x: misclassified where the ensemble succeeds, x itself elsewhere.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or value is out of range, or the network has too few classes.
        """
        return self.outcome(model, x, y).examples

    def outcome(self, model: Any, x: SameArray, y: Array) -> Outcome[SameArray]:
        """
        Attack samples, and tell what each attack of the ensemble did. What is in memory is not computed again.

        :param model: As for the attack itself.
        :param x: As for the attack itself.
        :param y: As for the attack itself.
        :return: The examples, their cost, how many samples survive each attack, "clean" at first, and which attack
                 broke each sample.
        """
        survivors, effort = dict.fromkeys(("clean", *self._members(len(x.shape))), 0), Effort()
        broken_by = [torch.zeros(0, dtype=torch.int64)]
        examples = self._attack(survivors, broken_by, effort)(model, x, y)
        return Outcome(examples, effort, survivors, torch.cat(broken_by))

    def described(self) -> dict[str, Any]:
        """
        What the attack is, for records (:func:`art_levelset.identity.describe`).

        :return: "AutoAttack", or "PartialAutoAttack", with its parameters.
        """
        name = "PartialAutoAttack" if self.version == "partial" else "AutoAttack"
        own = {"eps": self.eps, "norm": self.norm, "version": self.version, "batch_size": self.batch_size}
        return {"name": name, **own}

    def _members(self, dimensions: int) -> tuple[str, ...]:
        """The attacks on batches of so many dimensions."""
        members = VERSIONS[self.version]
        return members if dimensions == 4 else tuple(name for name in members if name != "square")

    def _attack(self, survivors: dict[str, int], broken_by: list[Tensor], effort: Effort) -> LibraryAttack:
        """The attack; each batch adds to the numbers that survive each member, to those that broke, to the effort."""
        pyautoattack = library("pyautoattack", "autoattack", "0.2.0")

        def run(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
            partial = self.version == "partial"
            if x.dim() != 4 and not partial:
                raise ValueError(
                    f"x must be images (batch, channels, height, width), got {tuple(x.shape)}: "
                    'for other inputs there is the version "partial"'
                )
            with measured(network) as first, torch.no_grad():
                logits = network(x)
            effort.add(first)
            classes = logits.shape[1]
            if classes < 4 and not partial:
                raise ValueError(
                    f"model must have at least 4 classes for AutoAttack, got {classes}: "
                    'for fewer there is the version "partial"'
                )
            version = "custom" if partial else self.version
            ensemble = pyautoattack.AutoAttack(
                network, norm=NAMES[self.norm], eps=self.eps, seed=seed, version=version, device=x.device
            )
            for part in (ensemble.apgd_targeted, ensemble.fab):
                part.n_target_classes = min(part.n_target_classes, classes - 1)
            attacked, surviving = x.clone(), _classified_right(logits, y)
            survivors["clean"] += int(surviving.sum())
            breaking = torch.full_like(y, -1)
            for place, name in enumerate(self._members(x.dim())):
                rows = surviving.nonzero().squeeze(1)
                if len(rows):
                    broken, examples = self._member(ensemble, name, network, x[rows], y[rows], seed, effort)
                    attacked[rows[broken]], surviving[rows[broken]] = examples, False
                    breaking[rows[broken]] = place
                survivors[name] += int(surviving.sum())
            broken_by.append(breaking.cpu())
            return attacked

        return LibraryAttack(
            "autoattack",
            run,
            {"version": self.version, "library": f"pyautoattack {pyautoattack.__version__}"},
            self.eps,
            self.norm,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def _member(
        self, ensemble: Any, name: str, network: nn.Module, x: Tensor, y: Tensor, seed: int, effort: Effort
    ) -> tuple[Tensor, Tensor]:
        """One attack on one batch: which samples it breaks, (batch,) bool, and the examples that do."""
        key = self.memo.key("autoattack", network, x, y, self.version, name, self.eps, self.norm, seed)
        some: tuple[int | None, ...] = (None, *x.shape[1:])
        known = self.memo.recall(key, broken=("b", (len(x),)), examples=("f", some), effort=("f", (3,)))
        if known is None:
            ensemble.attacks_to_run = [name]
            with measured(network) as spent, tracing_kept():
                result, _ = ensemble.run_standard_evaluation(x, y, batch_size=len(x))
                with torch.no_grad():
                    fooled = ~_classified_right(network(result), y)
            known = {
                "broken": fooled.cpu().numpy(),
                "examples": result[fooled].cpu().numpy(),
                "effort": spent.array(),
            }
            self.memo.store(key, **known)
        effort.add(Effort.of(known["effort"]))
        return torch.from_numpy(known["broken"]).to(x.device), torch.from_numpy(known["examples"]).to(x.device)


def _classified_right(logits: Tensor, y: Tensor) -> Tensor:
    """Whether each sample is classified right, (batch,); one with a logit that is not a number is not."""
    numbers = ~logits.isnan().any(dim=1)
    if not numbers.all():
        logger.warning("autoattack: the logits are not numbers for %d of %d samples", int((~numbers).sum()), len(y))
    return (logits.argmax(dim=1) == y) & numbers


@contextmanager
def logged_to(path: str | PathLike[str] | None) -> Iterator[None]:
    """
    Add AutoAttack's messages to a file.

    :param path: The file; None for none.
    """
    if path is None:
        yield
        return
    library = logging.getLogger(LOGGER)
    level, handler = library.level, logging.FileHandler(path, encoding="utf-8")
    library.addHandler(handler)
    library.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        library.setLevel(level)
        library.removeHandler(handler)
        handler.close()


@contextmanager
def tracing_kept() -> Iterator[None]:
    """Keep a debugger's or a coverage tool's trace function, which pyautoattack's checks remove."""
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)
