"""What a type checker sees of the public names: this file is one of those that mypy checks."""

from typing import assert_type

import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import envae
from envae.objectives import Objective
from envae.objectives.base import Loss


def test_public_names_have_types() -> None:
    vae = assert_type(envae.networks.build("mlp", (1, 8, 8), 2), envae.VAE)
    data = assert_type(envae.datasets.load("digits"), envae.datasets.Dataset)
    objective = assert_type(envae.objective("l2"), Objective)
    x = assert_type(data.train[:4], Tensor)
    loss = assert_type(objective(vae, x), Loss)
    assert_type(loss.total, Tensor)
    assert_type(vae.encode(x), Independent[Normal])
    assert_type(envae.energy_score(torch.rand(2, 4, 3), torch.rand(4, 3)), Tensor)
    history = envae.training.fit(vae, objective, x, epochs=1, progress=False)
    assert_type(history, pd.DataFrame)
    assert len(history) == 1


class Written(nn.Module):
    """As a user would write it: another name of an argument, a bare Normal."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 16), nn.Linear(8, 64)

    def encode(self, pictures: Tensor) -> Normal:
        mean, log_variance = self.encoder(pictures.flatten(1)).chunk(2, dim=1)
        return Normal(mean, torch.exp(0.5 * log_variance))

    def decode(self, code: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(code)).reshape(-1, 1, 8, 8)


class WithLabels(Written):
    def encode(self, pictures: Tensor, labels: Tensor | None = None) -> Normal:
        return super().encode(pictures)

    def decode(self, code: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().decode(code)


class LabelsNeeded(nn.Module):
    """A conditional model is no `EncodesAndDecodes`: its methods take more."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Written()

    def encode(self, pictures: Tensor, labels: Tensor) -> Normal:
        return self.model.encode(pictures)

    def decode(self, code: Tensor, labels: Tensor) -> Tensor:
        return self.model.decode(code)


def test_a_users_script_has_types() -> None:
    vae, loss = Written(), envae.objective("envae", samples=4, pairs="mirrored")
    optimizer = torch.optim.Adam([*vae.parameters(), *loss.parameters()])
    for x in torch.rand(2, 16, 1, 8, 8):
        optimizer.zero_grad()
        loss(vae, x).total.backward()
        optimizer.step()
    labelled = LabelsNeeded()
    assert_type(loss(labelled, torch.rand(16, 1, 8, 8), torch.arange(16)), Loss)
    assert_type(envae.training.Pair(labelled, loss), envae.training.Pair)
    given = envae.Given(WithLabels(), torch.arange(16))
    assert_type(loss(given, torch.rand(16, 1, 8, 8)), Loss)
    posterior = assert_type(
        envae.gaussian(torch.zeros(2, 3), torch.ones(2, 3)), Independent[Normal]
    )
    assert posterior.event_shape == (3,)
    score = envae.EnergyScore(reduction="none", dim=1)
    assert score(torch.rand(4, 2, 3), torch.rand(4, 3)).shape == (4,)
