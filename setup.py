"""What `pyproject.toml` cannot say: PyPI's README, whose links lead to the repository.

Here they are relative, so that a fork's lead into the fork; on PyPI those would lead nowhere.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def with_whole_links(text: str, repository: str) -> str:
    """Markdown whose relative links and pictures are those of the repository's main branch."""
    raw = repository.replace("//github.com/", "//raw.githubusercontent.com/")
    return re.sub(
        r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)",
        lambda link: (
            f"!{link[2]}({raw}/main/{link[3]})"
            if link[1]
            else f"{link[2]}({repository}/blob/main/{link[3]})"
        ),
        text,
    )


told = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
readme = (HERE / "README.md").read_text(encoding="utf-8")
setup(
    long_description=with_whole_links(readme, told["project"]["urls"]["Repository"]),
    long_description_content_type="text/markdown",
)
