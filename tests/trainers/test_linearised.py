"""The loss of linearised distances: every number of an affine network, and the gradient written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from art_levelset import LevelSetMarginTrainer
from art_levelset.core.fields import soft_margin_field
from art_levelset.trainers.schedules import Linear

from .networks import affine, convnet


class TestLinearised:
    """Eq. 12 with a smooth hinge on the distance of the level set through a search's end, in the norm of the ball."""

    def trainer(self, classifier, module, nb_classes=10, **options):
        options = {"warmup": 0.0, "burn_in": 0.0, "seed": 0, "distance": "linearised", **options}
        trainer = LevelSetMarginTrainer(classifier(module, nb_classes, clip_values=None), **options)
        trainer._union = 16
        return trainer

    @pytest.mark.parametrize("norm", [math.inf, 2])
    def test_of_an_affine_network_every_number_is_known(self, classifier, digits, norm):
        """d = F(x) / |w|_q, as the search ends in the lowest point, and its derivative in the bias is 2 / |w|_q."""
        direction = torch.linspace(0.1, 1.0, 64)
        module = affine([(-direction).tolist(), direction.tolist()], [12.0, -12.0])
        trainer = self.trainer(classifier, module, 2, eps=0.1, norm=norm, sharpness=6.0, max_iter=10)
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2)
        trainer._start = lambda x, rows, eps: x + 1e-3 * eps[:, None, None, None] * torch.randn_like(x)
        loss, figures = trainer.batch_loss(x, y, None)
        signs = 2 * y - 1
        speed = torch.linalg.vector_norm(2 * direction, ord=1 if norm == math.inf else 2)
        distances = (x.flatten(1) @ (2 * direction) - 24) * signs / speed
        kappa = 6.0 / 0.1
        expected = nn.functional.softplus(kappa * (0.1 - distances)).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        assert figures["margin"] == pytest.approx(distances.mean().item(), rel=1e-4)
        assert figures["crossed"] == pytest.approx((distances <= 0.1).float().mean().item())
        loss.backward()
        pulls = torch.sigmoid(kappa * (0.1 - distances)) * kappa * signs / speed
        assert module[1].bias.grad[1].item() == pytest.approx(-pulls.mean().item(), rel=1e-3)

    def test_the_scale_of_the_logits_changes_nothing(self, classifier, digits):
        """The hard margin and its speed scale alike: the loss is one of distances."""
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
        losses = []
        for scale in (1.0, 64.0):
            torch.manual_seed(0)
            module = convnet()
            with torch.no_grad():
                module[-1].weight.mul_(scale)
                module[-1].bias.mul_(scale)
            trainer = self.trainer(classifier, module, eps=0.2, boundary="hard")
            losses.append(trainer.batch_loss(x, y, None)[0].item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)

    def test_the_gradient_is_that_of_the_values_over_a_speed_that_stays(self, classifier, digits):
        torch.manual_seed(0)
        module = convnet()
        trainer = self.trainer(classifier, module, eps=0.2)
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
        ends = []
        forward = module.forward
        module.forward = lambda points: ends.append(points) or forward(points)
        trainer.batch_loss(x, y, None)[0].backward()
        found = [parameter.grad.clone() for parameter in module.parameters()]
        module.forward = forward
        points = ends[-1].detach().requires_grad_()
        values = soft_margin_field(module, y)(points).squeeze(1)
        (jacobians,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
        reached = (points - x).abs().flatten(1).amax(dim=1) + values / jacobians.abs().flatten(1).sum(dim=1)
        module.zero_grad()
        (nn.functional.softplus(8.0 / 0.2 * (0.2 - reached)).sum() / 16).backward()
        torch.testing.assert_close(found, [parameter.grad for parameter in module.parameters()], rtol=1e-3, atol=1e-5)

    def test_a_search_is_remembered_one_step_further(self, classifier, digits):
        torch.manual_seed(0)
        module = convnet()
        trainer = self.trainer(classifier, module, eps=0.2, max_iter=1, eps_step=0.05)
        x, y, rows = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16]), torch.arange(16) + 5
        trainer.begin_fit(60)
        trainer.batch_loss(x, y, rows)
        tracked = trainer._offsets.start(x, rows, torch.full((16,), 0.2), torch.full_like(x, 9.0))
        assert (tracked - x).abs().max() <= 0.2 + 1e-6
        field = soft_margin_field(module, y)
        assert (field(tracked) < field(x)).all()

    def test_sharpness_is_in_units_of_the_last_radius(self, classifier):
        trainer = self.trainer(classifier, convnet(), eps=Linear(0.1, 0.4, 5))
        assert trainer._objective.keywords == {"sharpness": pytest.approx(8.0 / 0.4)}
