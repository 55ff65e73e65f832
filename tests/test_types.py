"""What a type checker sees of the public names: this file is one of those that mypy checks."""

from typing import assert_type

import pandas as pd
import torch
from torch import Tensor
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
