"""The script in README.md, as a reader would run it who copies it."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[1] / "README.md"


def test_the_script_of_the_readme_trains_a_model():
    (script,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    before, after = {}, {}
    for part, names in ((script.partition("for x, *_")[0], before), (script, after)):
        torch.manual_seed(0)
        exec(part, names)
    weights = zip(before["vae"].parameters(), after["vae"].parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in weights)
