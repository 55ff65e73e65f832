# What is built from what: notebooks are executed, the book is made of them. `make` calls this on
# the cores of one machine; with `--executor slurm` or `kubernetes` the same rules run on a cluster.

import functools
import hashlib
import re
import sys
from pathlib import Path

import yaml

NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
PAGES = [path for path in Path("book").rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
# The API reference is made of the docstrings of all modules.
MODULES = list(Path("envae").rglob("*.py"))
# Code and data that can change what a notebook computes. No chapter asks for these modules.
NOT_OF_CHAPTERS = (
    "__main__.py", "cli.py", "companion/compare.py", "companion/figure_index.py", "companion/queue.py",
    "experiments/row_costs.py",
)
CODE = set(MODULES) - {Path("envae") / name for name in NOT_OF_CHAPTERS}
# What benchmarks/ recorded, which a page shows as it is.
RATIOS = [*Path("data/runs").glob("budget/*.json"), *Path("data/runs").glob("step_cost/*.json")]
# Every profile of the notebook that holds the papers' tables is a sweep: `snakemake sweep_digits`.
SWEEPS = glob_wildcards("notebooks/params/10_all_rows.{profile}.yaml").profile
# Records are left out: they are what the notebooks themselves write. data/figures.yaml is read by a
# page, not by a chapter; for data/claims.yaml see own_claims.
DATA = [*Path("data/features").iterdir(), *Path("data/published").iterdir()]

# `committed`: the book shows the outputs in the repository and nothing is executed.
PLACE = {"executed": "_build/executed", "committed": "notebooks"}[config.get("outputs", "executed")]


localrules:
    refresh,


# data/published reaches a page through the outputs of a chapter only.
rule book:
    input:
        settings=["_config.yml", "_toc.yml", "requirements.lock"],
        pages=sorted(PAGES),
        modules=sorted(MODULES),
        tables=["data/claims.yaml", "data/figures.yaml", *sorted(RATIOS)],
        notebooks=expand(PLACE + "/{name}.ipynb", name=NOTEBOOKS),
    output:
        directory("_build/html"),
    resources:
        mem_mb=2000,
        runtime=10,
    shell:
        "python book/build.py {output} {input.notebooks}"


def own_claims(wildcards):
    """What the ledger says of the claims of a chapter, in short.

    A parameter and not an input: the chapter's outputs hold the places and statements of its own
    claims, so a change of these executes it, and a change of another chapter's does not.
    """
    own = [claim for claim in ledger() if claim.get("notebook") == wildcards.name]
    return hashlib.sha256(repr(own).encode()).hexdigest()


@functools.cache
def ledger():
    return yaml.safe_load(Path("data/claims.yaml").read_text())


def priority(wildcards):
    from envae.companion import notebook_run

    return int(notebook_run.priority(Path("notebooks") / f"{wildcards.name}.ipynb"))


# Records are written into a folder of this run's own, so that nothing but the outputs appears.
# Chapters side by side share the cores: each is given a part of them for its processes, and no
# more, so that two cores work at two chapters and many at four. A model that two chapters ask for
# is trained by the first, and again after a change of the code only.
rule execute:
    input:
        notebook="notebooks/{name}.ipynb",
        code=sorted(CODE),
        data=sorted(DATA),
    output:
        notebook="_build/executed/{name}.ipynb",
        records=directory("_build/runs/{name}"),
    params:
        claims=own_claims,
    threads: max(1, (workflow.cores or 1) // 4)
    priority: priority
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        """
        mkdir -p {output.records}
        ENVAE_RUNS="$PWD/{output.records}" ENVAE_MODELS="$PWD/_build/models" \
            OMP_NUM_THREADS=1 LOKY_MAX_CPU_COUNT={threads} \
            envae run {input.notebook} -o {output.notebook} 2>&1 | cat
        """


def refreshed():
    """Chapters that `refresh` replaces: all, or those of `--config 'notebooks=[NAME]'`."""
    if not config.get("notebooks"):
        return NOTEBOOKS
    from envae.companion import notebook_run

    try:
        return [notebook_run.find(name).stem for name in config["notebooks"]]
    except notebook_run.RunError as error:
        sys.exit(f"refresh: {error}")


# The one rule that changes the repository's own files; among them the picture of the README and of
# the front page, which is made of records.
rule refresh:
    input:
        notebooks=expand("_build/executed/{name}.ipynb", name=refreshed()),
        records=expand("_build/runs/{name}", name=refreshed()),
    shell:
        """
        python book/_ext/commit.py notebooks {input.notebooks}
        mkdir -p data/runs
        for folder in {input.records}; do
            find "$folder" -mindepth 1 -maxdepth 1 -type d -exec cp -Rp {{}} data/runs/ \;
        done
        python book/front.py
        """


# A sweep: for each row of the tables, one run of the notebook that searches it, trains its seeds
# and writes their records into data/runs (or $ENVAE_RUNS). What has a record is not run again, and
# what was in training goes on from its last epoch. A row that fails is listed in its notebook.
rule sweep_row:
    input:
        notebook="notebooks/10_all_rows.ipynb",
        profile="notebooks/params/10_all_rows.{profile}.yaml",
    output:
        "_build/sweep/{profile}/{row}.ipynb",
    params:
        label=lambda wildcards: rows()[wildcards.row],
    threads: 1
    resources:
        mem_mb=8000,
        runtime=1440,
    shell:
        """
        OMP_NUM_THREADS={threads} LOKY_MAX_CPU_COUNT={threads} \
            envae run {input.notebook} --profile {wildcards.profile} \
            -p train '["{params.label}"]' -p pictured '[]' -o {output} 2>&1 | cat
        """


def rows():
    """Label of each row of the tables by the name of its file."""
    from envae.experiments.paper_rows import ROWS  # takes seconds to import, and only a sweep needs it

    return {re.sub(r"\W+", "-", label): label for label in ROWS}


for _profile in SWEEPS:

    rule:
        name:
            f"sweep_{_profile}"
        input:
            lambda wildcards, profile=_profile: expand(
                f"_build/sweep/{profile}/{{row}}.ipynb", row=rows()
            ),
