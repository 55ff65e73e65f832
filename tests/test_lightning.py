"""Lightning, which is no dependency: the lines that chapter 18 shows, run where it is installed."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch

# Adapters first: Lightning imports torchvision (`envae._torchvision`).
from envae import adapters, networks, objective

CHAPTER = Path(__file__).parents[1] / "notebooks" / "18_use_the_loss.ipynb"


def lines():
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    (found,) = re.findall(r"```python\n(import lightning .*?)```", text, re.DOTALL)
    return found


def test_the_chapters_lines_are_python():
    compile(lines(), str(CHAPTER), "exec")


@pytest.mark.filterwarnings("ignore")
def test_the_chapters_lines_train_a_model(monkeypatch, tmp_path):
    assert adapters
    for name in ("lightning", "pytorch_lightning"):  # one program under two names
        try:
            monkeypatch.setitem(sys.modules, "lightning", importlib.import_module(name))
            break
        except ImportError:
            continue
    else:
        pytest.skip("needs Lightning")
    monkeypatch.chdir(tmp_path)
    vae = networks.build("mlp64", (1, 8, 8), 2, seed=0)
    before = [weight.clone() for weight in vae.parameters()]
    images = torch.rand(32, 1, 8, 8)
    given = {"torch": torch, "vae": vae, "loss": objective("envae", samples=2), "images": images}
    exec(lines(), given)
    changed = [not torch.equal(*pair) for pair in zip(before, vae.parameters(), strict=True)]
    assert all(changed)
