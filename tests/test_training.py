"""The training loop: errors, determinism, resume, early stopping."""

import warnings

import pytest
import torch

from envae import datasets, networks
from envae.objectives import objective
from envae.training import _step, epoch_seed, fit

IMAGES = datasets.load("digits").train[:128]


def model():
    return networks.build("mlp", (1, 8, 8), 4, seed=0)


def trained(vae=None, **options):
    vae = vae or model()
    options = {"epochs": 3, "progress": False, "accelerator": "cpu"} | options
    return vae, fit(vae, objective("envae", samples=2), options.pop("images", IMAGES), **options)


def values(history):
    """The history without its times."""
    return history.drop(columns="seconds")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer from 1 up, received 0"),
        ({"epochs": 1.5}, "epochs must be an integer from 1 up, received 1.5"),
        ({"batch_size": 0}, "batch_size must be an integer from 1 up"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"patience": 2}, "patience needs validation images"),
        ({"patience": 0, "validation": IMAGES}, "patience must be an integer from 1 up"),
        ({"images": IMAGES.double()}, "float64 and the model's weights torch.float32"),
        (
            {"images": IMAGES.where(IMAGES < 1, torch.nan)},
            r"finite: \d+ of 128 are not, the first at",
        ),
        ({"validation": IMAGES / 0}, "validation must be finite"),
        ({"images": IMAGES[:0]}, "images must be a float tensor"),
        ({"images": (255 * IMAGES).byte()}, "of torch.uint8"),
    ],
)
def test_arguments_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        trained(**options)


def test_a_model_that_is_no_module_is_an_error():
    with pytest.raises(TypeError, match=r"fit trains an nn.Module, received object"):
        trained(object())


def test_history_has_a_row_per_epoch_with_every_part():
    _, history = trained(epochs=2, validation=IMAGES[:10])
    assert list(history["epoch"]) == [1, 2]
    columns = {"total", "reconstruction", "regularizer", "kl", "validation", "seconds"}
    assert columns <= set(history.columns)
    torch.testing.assert_close(
        torch.tensor(history["total"]),
        torch.tensor(history["reconstruction"] + history["regularizer"]),
    )


def test_same_seed_same_numbers_and_another_seed_others():
    first, second, other = (values(trained(seed=seed)[1]) for seed in (0, 0, 1))
    assert first.equals(second)
    assert not first.equals(other)


def test_resumed_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path):
    whole_vae, whole = trained(epochs=4)
    path = tmp_path / "runs" / "run.safetensors"
    trained(epochs=2, checkpoint=path)
    resumed_vae, resumed = trained(networks.build("mlp", (1, 8, 8), 4), epochs=4, checkpoint=path)
    assert values(resumed).equals(values(whole))
    for name, weight in whole_vae.state_dict().items():
        assert torch.equal(resumed_vae.state_dict()[name], weight), name
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize(("name", "options"), [("dt_vae", {"latent_dim": 4}), ("ec_vae", {})])
def test_an_energy_goes_on_where_it_was_stopped(tmp_path, name, options):
    """With its weights, its power iteration, its multiplier and Adam's state."""
    run = {"batch_size": 50, "progress": False, "accelerator": "cpu"}

    def trained_for(epochs, **more):
        loss = objective(name, **options)
        vae = networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0)
        return loss, fit(vae, loss, IMAGES, epochs=epochs, **run, **more)

    whole_loss, whole = trained_for(3)
    trained_for(1, checkpoint=tmp_path / "run")
    loss, resumed = trained_for(3, checkpoint=tmp_path / "run")
    assert values(resumed).equals(values(whole))
    for part, value in whole_loss.state_dict().items():
        assert torch.equal(loss.state_dict()[part], value), part


@pytest.mark.parametrize("name", ["l2", "ec_vae"])
def test_adam_has_the_betas_that_an_objective_asks_for(monkeypatch, name):
    made = []
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: made.append(adam(*a, **k)) or made[-1])
    fit(model(), objective(name), IMAGES, epochs=1, progress=False, accelerator="cpu")
    expected = {"l2": (0.9, 0.999), "ec_vae": (0.0, 0.9)}[name]
    assert made[0].defaults["betas"] == objective(name).betas == expected


def test_interrupted_run_keeps_its_last_whole_epoch(tmp_path):
    path = tmp_path / "run.safetensors"
    vae = model()
    decode, calls = vae.decode, []

    def interrupted(z):
        calls.append(1)
        if len(calls) > 5:  # two steps an epoch: in the third
            raise KeyboardInterrupt
        return decode(z)

    vae.decode = interrupted
    with pytest.raises(KeyboardInterrupt):
        trained(vae, checkpoint=path)
    _, resumed = trained(checkpoint=path)
    assert values(resumed).equals(values(trained()[1]))


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.01}, {"batch_size": 32}])
def test_checkpoint_of_another_run_is_an_error(tmp_path, change):
    path = tmp_path / "run.safetensors"
    trained(epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match=f"of another run: it differs in .*{next(iter(change))}"):
        trained(checkpoint=path, **change)


def test_damaged_checkpoint_is_an_error(tmp_path):
    path = tmp_path / "run.safetensors"
    trained(epochs=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a checkpoint of this project"):
        trained(checkpoint=path)


def test_loss_that_is_not_finite_is_an_error_that_says_where():
    with pytest.raises(FloatingPointError, match=r"epoch 1, step \d, in total, reconstruction"):
        trained(images=1e38 * IMAGES)


def test_early_stopping_goes_back_to_the_best_epoch():
    vae, history = trained(
        epochs=200, images=IMAGES[:20], validation=IMAGES[100:], patience=3, lr=3e-3, batch_size=20
    )
    best = history["validation"].idxmin()
    assert len(history) == best + 1 + 3 < 200
    again, _ = trained(
        epochs=int(best) + 1, images=IMAGES[:20], validation=IMAGES[100:], lr=3e-3, batch_size=20
    )
    for name, weight in again.state_dict().items():
        assert torch.equal(vae.state_dict()[name], weight), name


def test_bfloat16_trains():
    _, history = trained(epochs=6, precision="bf16-mixed")
    assert history["total"].iloc[-1] < history["total"].iloc[0]


# --- what a checkpoint belongs to -------------------------------------------------------------


def attempt(path, loss=None, images=IMAGES, **options):
    options = {"epochs": 2, "progress": False, "accelerator": "cpu"} | options
    return fit(model(), loss or objective("ffl"), images, checkpoint=path, **options)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"loss": objective("ffl", focus=2.0)}, "options"),
        ({"loss": objective("l2")}, "objective"),
        ({"images": IMAGES.flip(0)}, "images"),
        ({"validation": IMAGES[:8]}, "validation"),
        ({"precision": "bf16-mixed"}, "precision"),
    ],
)
def test_a_checkpoint_knows_its_options_its_data_and_its_schedule(tmp_path, change, differs):
    path = tmp_path / "run.safetensors"
    attempt(path, epochs=1)
    with pytest.raises(ValueError, match=rf"of another run: it differs in \['{differs}'"):
        attempt(path, **change)
    attempt(path)


def test_a_checkpoint_of_another_network_is_an_error(tmp_path):
    path = tmp_path / "run.safetensors"
    attempt(path, epochs=1)
    other = networks.build("conv", (1, 8, 8), 4)
    with pytest.raises(ValueError, match=r"differs in \['weights'\]"):
        fit(other, objective("ffl"), IMAGES, epochs=2, checkpoint=path, progress=False)


def test_fewer_epochs_than_a_checkpoint_holds_are_an_error(tmp_path):
    path = tmp_path / "run.safetensors"
    attempt(path, epochs=3)
    with pytest.raises(ValueError, match="holds 3 epochs, and 1 were asked for"):
        attempt(path, epochs=1)


def test_an_objective_in_evaluation_mode_is_the_same_objective(tmp_path):
    path = tmp_path / "run.safetensors"
    attempt(path, epochs=1)
    assert len(attempt(path, loss=objective("ffl").eval())) == 2


def test_weights_that_a_model_uses_twice_are_stored_and_found_again(tmp_path):
    def tied():
        vae = model()
        vae.decoder[2].weight = vae.encoder[3].weight
        return vae

    path, options = tmp_path / "run.safetensors", {"progress": False, "accelerator": "cpu"}
    whole, pieces = tied(), tied()
    fit(whole, objective("l2"), IMAGES, epochs=2, **options)
    fit(pieces, objective("l2"), IMAGES, epochs=1, checkpoint=path, **options)
    pieces = tied()
    fit(pieces, objective("l2"), IMAGES, epochs=2, checkpoint=path, **options)
    assert pieces.decoder[2].weight is pieces.encoder[3].weight
    assert torch.equal(pieces.decoder[2].weight, whole.decoder[2].weight)


# --- what training leaves behind --------------------------------------------------------------


def test_a_trained_model_comes_back_in_evaluation_mode():
    vae, _ = trained(networks.build("arelbo_mnist", (1, 8, 8), 3, seed=0), epochs=1)
    assert not any(layer.training for layer in vae.modules())
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    vae.decode(vae.encode(IMAGES).mean)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_training_leaves_the_callers_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(epochs=1, validation=IMAGES[:8])
    assert torch.equal(torch.rand(3), expected)


def test_a_validation_loss_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="validation loss is not finite at epoch 1"):
        trained(validation=1e38 * IMAGES[:8], patience=1)


def test_bfloat16_on_a_processor_without_it_is_said(monkeypatch):
    told = {"cpu_name": "old", "avx2": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    with pytest.warns(UserWarning, match=r"\(old\) has no instructions for bfloat16"):
        trained(epochs=1, precision="bf16-mixed")
    told["amx_bf16"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(epochs=1, precision="bf16-mixed")


def test_a_run_that_is_looked_at_goes_on_as_if_it_were_not():
    seen, orders = [], []

    def look(history):
        orders.append(torch.randperm(len(IMAGES)).tolist())
        seen.append((len(history), vae.training, history["total"].iloc[-1]))

    vae = model()
    _, looked_at = trained(vae, after_epoch=look)
    assert values(looked_at).equals(values(trained()[1]))
    assert seen == [(count + 1, False, total) for count, total in enumerate(looked_at["total"])]
    for epoch, order in enumerate(orders):  # what it draws is not what the epoch drew
        torch.manual_seed(epoch_seed(0, epoch))
        assert order != torch.randperm(len(IMAGES)).tolist()


def test_an_epoch_whose_look_fails_is_kept_and_not_repeated(tmp_path):
    seen = []

    def look(history):
        seen.append(len(history))
        if seen == [1, 2]:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "c.safetensors", "after_epoch": look}
    with pytest.raises(KeyboardInterrupt):
        trained(**options)
    _, history = trained(**options)
    assert seen == [1, 2, 3]
    assert values(history).equals(values(trained()[1]))


def test_without_a_gpu_no_step_is_recorded():
    assert values(trained(cuda_graph=True)[1]).equals(values(trained()[1]))


class CountsItsCalls(type(objective("l2"))):
    """An objective that is another at every step, by a plain number."""

    calls = 0

    def reconstruct(self, x, images, heads):
        self.calls += 1
        score, parts = super().reconstruct(x, images, heads)
        return self.calls * score, parts


class Waits(type(objective("l2"))):
    """An objective that reads a value at every step."""

    def reconstruct(self, x, images, heads):
        score, parts = super().reconstruct(x, images, heads)
        return score * (1 if x.sum().item() > 0 else 0), parts


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("minimized", "replayed"),
    [
        (lambda: objective("envae", samples=4, pairs="mirrored"), True),
        (lambda: objective("envae", samples=40), True),
        (lambda: objective("fenvae"), True),
        (lambda: objective("diag_d"), True),
        (lambda: objective("diag_i", estimate="trainable"), True),
        (lambda: objective("bernoulli"), True),
        (lambda: objective("rae_gp"), True),
        (lambda: objective("dt_vae", latent_dim=4, loss="envae"), True),
        (lambda: objective("ec_vae"), True),
        (CountsItsCalls, False),
        (Waits, False),
    ],
)
def test_a_gpu_replays_the_steps_that_it_would_do(minimized, replayed, monkeypatch):
    replays = []
    record = _step.Step._record
    monkeypatch.setattr(
        _step.Step, "_record", lambda self, batch: (record(self, batch), replays.append(True))
    )
    found = []
    for cuda_graph in (False, True):
        loss = minimized()
        vae = networks.build("arelbo_mnist", (1, 8, 8), 4, objective=loss, seed=0)
        options = {"epochs": 3, "batch_size": 12, "progress": False, "accelerator": "cuda"}
        history = fit(vae, loss, IMAGES, cuda_graph=cuda_graph, **options)
        found.append(values(history).to_numpy())
    assert bool(replays) == replayed
    # A GPU does not add up in the same order every time, and Adam's first steps blow that up.
    torch.testing.assert_close(*map(torch.from_numpy, found), rtol=2e-2, atol=1e-2)
