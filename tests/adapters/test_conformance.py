"""What every attack of every library keeps to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod, HopSkipJump
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.adapters.adv_lib import from_adv_lib
from art_levelset.adapters.advertorch import advertorch_pgd, from_advertorch
from art_levelset.adapters.art import art_pgd, from_art
from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.adapters.foolbox import foolbox_pgd, from_foolbox
from art_levelset.adapters.torchattacks import from_torchattacks, torchattacks_pgd
from art_levelset.attacks import pgd
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack, parameters_of, reseeded

from ..attacks.tiny import (
    CLASSES,
    SHAPE,
    accuracy,
    data,
    distances,
    disturbed,
    needs,
    network,
    random_states,
    seed_all,
    state,
)

pytestmark = pytest.mark.usefixtures("quick_autoattack", "few_queries")


@dataclass(frozen=True)
class Row:
    name: str
    make: Callable[..., Attack]
    eps: float = 0.2
    norm: float = math.inf
    random: bool = True


L2: dict[str, float] = {"eps": 0.8, "norm": 2}
L1: dict[str, float] = {"eps": 4.0, "norm": 1}

ROWS = [
    Row("native", partial(partial, pgd, max_iter=5)),
    Row("native margin", partial(partial, pgd, max_iter=5, loss="margin")),
    Row("native L2", partial(partial, pgd, max_iter=5), **L2),
    Row("native from the sample", partial(partial, pgd, max_iter=5, random_start=False), random=False),
    Row("guided", Guided, random=False),
    Row("guided L2", Guided, **L2, random=False),
    Row("ART PGD", partial(art_pgd, max_iter=5)),
    Row("ART PGD margin L2", partial(art_pgd, max_iter=5, loss="margin"), **L2),
    Row("ART PGD L1", partial(art_pgd, max_iter=5), **L1),
    Row("ART FGSM", partial(from_art, FastGradientMethod, eps_step=0.05), random=False),
    Row("ART APGD", partial(from_art, AutoProjectedGradientDescent, eps_step=0.1, max_iter=5, nb_random_init=1)),
    Row("ART HopSkipJump", partial(from_art, HopSkipJump, max_iter=1, max_eval=10, init_eval=5), **L2),
    Row("AdverTorch PGD", partial(advertorch_pgd, max_iter=5)),
    Row("AdverTorch PGD margin", partial(advertorch_pgd, max_iter=5, loss="margin")),
    Row("AdverTorch PGD L2", partial(advertorch_pgd, max_iter=5), **L2),
    Row("AdverTorch PGD L1", partial(advertorch_pgd, max_iter=5, eps_step=2.0), **L1),
    Row("AdverTorch FAB", partial(from_advertorch, "LinfFABAttack", n_iter=5), random=False),
    Row("Torchattacks PGD", partial(torchattacks_pgd, max_iter=5)),
    Row("Torchattacks PGD margin", partial(torchattacks_pgd, max_iter=5, loss="margin")),
    Row("Torchattacks PGD margin L2", partial(torchattacks_pgd, max_iter=5, loss="margin"), **L2),
    Row("Torchattacks APGD", partial(from_torchattacks, "APGD", steps=5)),
    Row("Torchattacks FAB", partial(from_torchattacks, "FAB", steps=5), **L2, random=False),
    Row("Torchattacks Square", partial(from_torchattacks, "Square", n_queries=20)),
    Row("adv-lib APGD", partial(from_adv_lib, "apgd", n_iter=5)),
    Row("adv-lib FAB", partial(from_adv_lib, "fab", n_iter=5), random=False),
    Row("adv-lib FMN", partial(from_adv_lib, "fmn", steps=10), random=False),
    Row("adv-lib PDPGD", partial(from_adv_lib, "pdpgd", num_steps=15), random=False),
    Row("adv-lib DDN L2", partial(from_adv_lib, "ddn", steps=10), **L2, random=False),
    Row("adv-lib ALMA L2", partial(from_adv_lib, "alma", num_steps=20, init_lr_distance=0.3), **L2, random=False),
    Row("adv-lib SuperDeepFool L2", partial(from_adv_lib, "sdf", steps=4, df_steps=5), **L2, random=False),
    Row("adv-lib sigma-zero L2", partial(from_adv_lib, "sigma_zero", num_steps=20), **L2, random=False),
    Row("Foolbox PGD", partial(foolbox_pgd, max_iter=5)),
    Row("Foolbox FMN", partial(from_foolbox, "LInfFMNAttack", steps=10), random=False),
    Row("Foolbox DDN L2", partial(from_foolbox, "DDNAttack", steps=10), **L2, random=False),
    Row("Foolbox noise L2", partial(from_foolbox, "L2RepeatedAdditiveUniformNoiseAttack", repeats=5), **L2),
    Row("AutoAttack", AutoAttack),
    Row("AutoAttack L2", AutoAttack, **L2),
    Row("AutoAttack rand", partial(AutoAttack, version="rand")),
]


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


@pytest.fixture
def attack(row: Row) -> Attack:
    try:
        return row.make(eps=row.eps, norm=row.norm)
    except ImportError as error:
        pytest.skip(str(error))


def check_inside(attacked: Tensor, x: Tensor, row: Row) -> None:
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert distances(attacked, x, row.norm).max() <= row.eps


def test_breaks_samples_inside_the_ball_and_the_box(row: Row, attack: Attack) -> None:
    model = network()
    x, y = data(model, 20)
    given = x.clone(), y.clone()
    attacked = attack(model, x, y)
    check_inside(attacked, x, row)
    assert accuracy(model, x, y) == 1
    assert accuracy(model, attacked, y) < 0.9
    assert torch.equal(x, given[0])
    assert torch.equal(y, given[1])


class Standardising(nn.Module):
    """A network that may write to its input."""

    def __init__(self, model: nn.Module, *, writes: bool) -> None:
        super().__init__()
        self.model = model
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model(x.sub_(0.1).div_(0.9) if self.writes else (x - 0.1) / 0.9)
        return outputs


def test_a_network_that_writes_to_its_input_changes_nothing(row: Row, attack: Attack) -> None:
    careful, writing = (Standardising(network(), writes=writes).eval() for writes in (False, True))
    x, _ = data(network(), 8)
    with torch.no_grad():
        y = careful(x).argmax(dim=1)
    before, expected = x.clone(), attack(careful, x, y)
    assert torch.equal(attack(writing, x, y), expected)
    assert torch.equal(x, before)


def test_what_is_no_logits_is_refused_by_name(attack: Attack) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(1), x

    x, y = data(network())
    with pytest.raises(TypeError, match="model must return one tensor of logits, .* got tuple"):
        attack(Two(), x, y)
    with pytest.raises(ValueError, match="model must return logits, got probabilities"):
        attack(nn.Sequential(network(), nn.Softmax(dim=1)), x, y)
    with pytest.raises(ValueError, match=r"model must return \(\d, classes >= 2\).* got \(\d, 1\); one logit z"):
        attack(nn.Sequential(network(), nn.Linear(CLASSES, 1)), x, y)


def test_finished_work_is_found_by_what_the_attack_is(row: Row, attack: Attack) -> None:
    memo = Memo()
    key = memo.key(attack)
    assert key is not None
    assert memo.key(row.make(eps=row.eps, norm=row.norm)) == key
    assert memo.key(row.make(eps=row.eps / 2, norm=row.norm)) not in (key, None)


class Own(FastGradientMethod):  # type: ignore[misc]
    """An attack of the caller's own: another one may have its name."""


def test_an_attack_class_of_the_caller_is_not_known_by_value() -> None:
    assert Memo().key(from_art(Own, eps=0.1)) is None


BOXED = [each for each in ROWS if each.name.startswith(("native", "ART", "AdverTorch", "Foolbox"))]


@pytest.mark.parametrize("row", BOXED, ids=lambda row: row.name)
@pytest.mark.parametrize("form", ["channels", "features", "flat"])
def test_a_box_may_be_given_for_each_channel_or_feature(row: Row, form: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    x = torch.rand(12, 3, 4, 4)
    y = model(x).argmax(dim=1).detach()
    low, high = np.array([-1.0, 0, 0], np.float32), np.array([1.0, 1, 3], np.float32)
    features = tuple(np.ascontiguousarray(np.broadcast_to(wall[:, None, None], (3, 4, 4))) for wall in (low, high))
    given = {"channels": (low, high), "features": features, "flat": tuple(wall.reshape(-1) for wall in features)}
    try:
        attack = row.make(eps=5 * row.eps, norm=row.norm, clip_values=given[form])
    except ImportError as error:
        pytest.skip(str(error))
    if row.name in ("AdverTorch PGD L2", "AdverTorch FAB") or row.name.startswith("Foolbox"):
        with pytest.raises(ValueError, match=r"clip_values must be numbers for (advertorch|foolbox)\..*no arrays"):
            attack(model, x, y)
        return
    attacked = attack(model, x, y)
    assert (attacked >= torch.from_numpy(features[0])).all()
    assert (attacked <= torch.from_numpy(features[1])).all()
    assert distances(attacked, x, row.norm).max() <= 5 * row.eps
    assert accuracy(model, attacked, y) < 1
    assert attacked.min() < 0 or attacked.max() > 1
    assert "clip_values" in parameters_of(attack)


class Stop(Exception):
    pass


def test_leaves_the_model_and_the_random_states_as_they_are(row: Row, attack: Attack) -> None:
    model = disturbed(network())
    x, y = data(model.eval())
    disturbed(model)
    before, randoms = state(model), random_states()
    attack(model, x, y)
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert random_states() == randoms

    passes = 0

    def stop(module: nn.Module, inputs: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise Stop

    model[0].register_forward_pre_hook(stop)
    before = state(model)
    with pytest.raises(Stop):
        reseeded(attack, 9)(model, x, y)  # not with the same seed: AutoAttack would remember what it did
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert random_states() == randoms


def test_depends_on_its_own_seed_only(row: Row, attack: Attack) -> None:
    model = network()
    x, y = data(model)
    first, again, other = (reseeded(attack, seed) for seed in (7, 7, 8))
    seed_all(1)
    attacked = first(model, x, y)
    seed_all(2)
    assert torch.equal(again(model, x, y), attacked)
    assert torch.equal(other(model, x, y), attacked) is not row.random


def test_takes_a_batch_of_one(row: Row, attack: Attack) -> None:
    model = network()
    x, y = data(model)
    attacked = attack(model, x[:1], y[:1])
    assert attacked.shape == x[:1].shape
    check_inside(attacked, x[:1], row)


def test_takes_labels_and_samples_in_every_form_and_returns_what_it_got(row: Row, attack: Attack) -> None:
    model = network()
    x, y = data(model)
    attacked = attack(model, x, y)
    one_hot = np.eye(CLASSES)[y]
    for given, labels in [
        (x, torch.from_numpy(one_hot)),
        (x.double(), y.int()),
        (x.expand(2, *x.shape)[0], y),
        (x.to(memory_format=torch.channels_last), one_hot),
        (x.numpy(), y.numpy()),
        (np.asfortranarray(x.double().numpy()), one_hot.astype(np.float32)),
    ]:
        result = attack(model, given, labels)  # type: ignore[arg-type]
        assert type(result) is type(given)
        assert result.dtype == given.dtype
        assert result.shape == given.shape
        torch.testing.assert_close(torch.as_tensor(result).float(), attacked, rtol=0, atol=1e-5)


def test_takes_a_network_in_double_precision(row: Row, attack: Attack) -> None:
    model = network().double()
    x, y = data(network())
    for given in (x, x.double() * (1 - 1e-12)):
        attacked = attack(model, given, y)
        assert attacked.dtype == given.dtype
        check_inside(attacked, given, row)
        assert accuracy(model, attacked.double(), y) < 1


class Standardised(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model((x - torch.tensor([0.3])) / torch.tensor([0.5]))
        return outputs


def test_takes_a_classifier_of_art(row: Row, attack: Attack) -> None:
    model = network()
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        SHAPE,
        CLASSES,
        clip_values=(0.0, 1.0),
        preprocessing=(np.float32(0.3), np.float32(0.5)),
        device_type="cpu",
    )
    x, _ = data(model)
    y = Standardised(model)(x).argmax(dim=1)
    attacked = attack(classifier, x, y)
    check_inside(attacked, x, row)
    torch.testing.assert_close(attacked, attack(Standardised(model), x, y), rtol=0, atol=0)


@pytest.mark.gpu
def test_returns_to_the_device_it_was_given(row: Row, attack: Attack) -> None:
    model = network()
    x, y = data(model)
    model.cuda()
    for given, labels in [(x.cuda(), y.cuda()), (x, y), (x.cuda(), y)]:
        attacked = attack(model, given, labels)
        assert attacked.device == given.device
        check_inside(attacked.cpu(), x, row)
        assert accuracy(model, attacked.cuda(), y.cuda()) < 1


def test_unknown_parameters_of_art_are_refused() -> None:
    with pytest.raises(TypeError, match="FastGradientMethod has no parameter max_iter, but norm, eps"):
        from_art(FastGradientMethod, eps=0.1, max_iter=5)


@needs("advertorch")
def test_unknown_parameters_of_advertorch_are_refused() -> None:
    with pytest.raises(TypeError, match="LinfPGDAttack has no parameter max_iter, but loss_fn"):
        from_advertorch("LinfPGDAttack", eps=0.1, max_iter=5)


@needs("adv_lib")
def test_unknown_parameters_of_adv_lib_are_refused() -> None:
    with pytest.raises(TypeError, match="fmn has no parameter max_iter, but norm, steps"):
        from_adv_lib("fmn", eps=0.1, max_iter=5)


@needs("foolbox")
def test_unknown_parameters_of_foolbox_are_refused() -> None:
    with pytest.raises(TypeError, match="LinfProjected.* has no parameter max_iter, but rel_stepsize, abs_stepsize"):
        from_foolbox("LinfPGD", eps=0.1, max_iter=5)


@needs("torchattacks")
def test_unknown_parameters_of_torchattacks_are_refused() -> None:
    with pytest.raises(TypeError, match="PGD has no parameter max_iter, but eps, alpha"):
        from_torchattacks("PGD", eps=0.1, max_iter=5)
