"""Numbers that a call may leave out, and that recorded values were computed with.

No record names them, or a record leaves them out where they are these: with another default the
recorded values would be those of another run, and nothing would say so. Who changes one makes the
records that it concerns anew. Objectives' own defaults are in `test_objectives.py`.
"""

import importlib
import inspect
import pkgutil

import pytest

import envae
from envae import priors, scores, training
from envae.companion import beside, compare, differences
from envae.datasets import faces, folders, noise
from envae.experiments import (
    batched,
    classifiers,
    fenvae,
    gradients,
    noise_recovery,
    one_pixel,
    paper_rows,
    runs,
    step_cost,
)
from envae.experiments.measures import calibration, collapse, pictures, quality
from envae.metrics import (
    frechet,
    inception,
    interpolation,
    likelihood,
    random_convolutions,
    spectrum,
    two_sample,
    uncertainty,
)
from envae.objectives import energies
from envae.theory import discrimination, linear, linear_energy, one_draw, spread_balance

STEPS = {"proposals": 200, "steps": 100, "step": 0.05}
DEFAULTS = [
    (training.fit, {"batch_size": 64, "lr": 1e-3, "patience": None, "precision": "32-true",
                    "cuda_graph": False}),
    (batched.fit, {"batch_size": 64, "lr": 1e-3}),
    (runs.Setting, {"network": "mlp", "latent_dim": 16, "epochs": 60, "batch_size": 64, "lr": 1e-3,
                    "posterior": None}),
    (paper_rows.Experiment, {"likelihood_draws": 500, "likelihood_images": None, "samples": None,
                             "seeds": (1, 2, 3, 4, 5), "priors": ("gmm10",),
                             "random_space": True}),
    (fenvae.Case, {"initial_variance": 1.0}),
    (fenvae.latent_walk, {"between": 10}),
    (fenvae.weighted, {"seed": 1, "initial_variance": 1.0}),
    (gradients.gradient_noise, {"repeats": 200, "seed": 0}),
    (gradients.gradient_signal, {"batch_size": 64, "batches": 200}),
    (noise_recovery.readings, {"draws": 4}),
    (noise_recovery.follow, {"stops": 30}),
    (noise_recovery.group, {"warm_up": 0}),
    (noise_recovery.Noise, {"redraw": False}),
    (noise.noisy, {"seed": 0}),
    (noise.noisy_name, {"seed": 0}),
    (faces.celeba64, {"crop": 140}),
    (classifiers.Recipe, {"batch_size": 64, "lr": 1e-3, "weight_decay": 0.01, "one_cycle": False,
                          "augmented": False, "left_out": 0}),
    (one_pixel.train, {"seed": 0}),
    (step_cost.step_seconds, {"repeats": 10}),
    (step_cost.seconds_in_training, {"steps": 4}),
    # App. D.1 of takida2022 has 10,000 images, xu2025 50 draws.
    (collapse.measure, {"images": 10_000, "jacobians": 1000}),
    (pictures.measure, {"draws": 50, "images": 500}),
    (calibration.measure, {"steps": 255, "images": 500, "others": ()}),
    (calibration.forecasts, {"draws": 39}),
    (calibration.balance, {"draws": 39}),
    (quality.measure, {"against": "train", "likelihood_draws": 0, "interpolate": False,
                       "two_sample": False, "priors": ()}),
    (likelihood.negative_log_likelihood, {"draws": 500, "decoded_at_once": 1000, "seed": 0}),
    (frechet.floor, {"draws": 50, "seed": 0}),
    (spectrum.energy_above, {"lowest": 0.25}),
    (inception.inception_score, {"splits": 10}),
    (interpolation.between_pairs, {"pairs": 10_000, "ratio": 0.5}),
    (two_sample.precision_recall, {"neighbours": 3}),
    (two_sample.reached, {"neighbours": 5}),
    (uncertainty.maps, {"draws": 4}),
    (priors.GaussianMixture.fit, {"components": 10, "seed": 0}),
    (priors.SecondStageVAE.fit, {"hidden": 256, "epochs": 800, "patience": 100, "batch_size": 64,
                                 "lr": 1e-3, "seed": 0}),
    (priors.NoiseContrastive.fit, STEPS | {"draws": "sir", "updates": 1000, "batch_size": 256,
                                           "lr": 1e-3, "hidden": 128, "seed": 0}),
    (priors.NoiseContrastive, STEPS | {"draws": "sir"}),
    (priors.NoiseContrastive.diagnostics, {"count": 1000, "seed": 0}),
    (random_convolutions.RandomConvolutions, {"few": False}),
    (energies.ImageEnergy, {"hidden": 128}),
    (energies.JointEnergy, {"hidden": 128}),
    (folders.imagefolder, {"size": 64, "crop": None}),
    (discrimination.Field, {"channels": 1, "length": 2.0, "across": 0.9}),
    (discrimination.Forecast, {"shift": 0.0, "spread": 1.0, "kept": 1.0}),
    (discrimination.images_needed, {"images": 200, "seed": 0}),
    (linear.train, {"steps": 5000, "seed": 0}),
    (spread_balance.suggested_weight, {"beta": 1.0, "share": 1 / 3}),
    *[
        (function, {"beta": 1.0})
        for function in (
            scores.energy_score, scores.EnergyScore, scores.cyclic_energy_score,
            scores.fenvae_surrogate, scores.antithetic_score, discrimination.expected_score,
            discrimination.relative_change, linear_energy.expected_loss, linear_energy.optimum,
            one_draw.second_terms, spread_balance.weight, spread_balance.ratio,
            spread_balance.linear_optimum,
        )
    ],
    *[
        (function, {"level": 0.95})
        for function in (differences.paired, differences.unpaired, differences.simultaneous)
    ],
    (beside.agreement, {"resamples": 1000}),
    (compare.Comparison, {"minutes": 10.0, "size": 32}),
]  # fmt: skip


def callables():
    """Functions, classes and methods that are defined in the package, by name."""
    for found in pkgutil.walk_packages(envae.__path__, "envae."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if getattr(value, "__module__", "") != module.__name__:
                continue
            members = vars(value).values() if inspect.isclass(value) else [value]
            for member in members:
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function):
                    yield f"{module.__name__}.{function.__qualname__}", function


def test_a_seed_that_is_left_out_is_zero():
    """But for a case of FEnVAE, whose search has seed 0."""
    seeds = {
        name: parameters["seed"].default
        for name, function in callables()
        if "seed" in (parameters := inspect.signature(function).parameters)
    }
    given = {name: seed for name, seed in seeds.items() if seed not in (inspect.Parameter.empty, 0)}
    assert len(seeds) > 30
    assert given == {
        "envae.experiments.fenvae._case.weighted": 1,
        "envae.networks._build.build": None,
    }


@pytest.mark.parametrize(("function", "expected"), DEFAULTS, ids=lambda part: getattr(
    part, "__qualname__", ""))  # fmt: skip
def test_a_number_that_is_left_out_is_the_one_that_records_were_made_with(function, expected):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in expected} == expected
