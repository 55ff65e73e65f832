# What is built from what: notebooks are executed, the book is made of them. `make` calls this on
# the cores of one machine; with `--executor slurm` or `kubernetes` the same rules run on a cluster.

import re
from pathlib import Path

NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
PAGES = [path for path in Path("book").rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
# Code and data that can change what a notebook computes.
CODE = [path for path in Path("envae").rglob("*.py") if path != Path("envae/cli.py")]
# Every profile of the notebook that holds the papers' tables is a sweep: `snakemake sweep_digits`.
SWEEPS = glob_wildcards("notebooks/params/11_all_rows.{profile}.yaml").profile
# Records are left out: they are what the notebooks themselves write.
DATA = [p for p in Path("data").rglob("*") if p.is_file() and not p.is_relative_to("data/runs")]

# `committed`: the book shows the outputs in the repository and nothing is executed.
PLACE = {"executed": "_build/executed", "committed": "notebooks"}[config.get("outputs", "executed")]


localrules:
    refresh,


rule book:
    input:
        settings=["_config.yml", "_toc.yml"],
        pages=sorted(PAGES),
        claims="data/claims.yaml",
        notebooks=expand(PLACE + "/{name}.ipynb", name=NOTEBOOKS),
    output:
        directory("_build/html"),
    resources:
        mem_mb=2000,
        runtime=10,
    shell:
        """
        rm -rf _build/source
        mkdir -p _build/source/notebooks
        cp -R {input.settings} book _build/source/
        cp {input.notebooks} _build/source/notebooks/
        jupyter-book build --all -n -W --keep-going --quiet _build/source > /dev/null
        mv _build/source/_build/html {output}
        """


# Records are written into a folder of this run's own, so that nothing but the outputs appears.
rule execute:
    input:
        notebook="notebooks/{name}.ipynb",
        code=sorted(CODE),
        data=sorted(DATA),
    output:
        notebook="_build/executed/{name}.ipynb",
        records=directory("_build/runs/{name}"),
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        """
        mkdir -p {output.records}
        ENVAE_RUNS="$PWD/{output.records}" OMP_NUM_THREADS={threads} \
            envae run {input.notebook} -o {output.notebook} 2>&1 | cat
        """


# The one rule that changes the repository's own files. Time stamps are kept, so that the copies
# do not count as newer than what they were copied from.
rule refresh:
    input:
        notebooks=expand("_build/executed/{name}.ipynb", name=NOTEBOOKS),
        records=expand("_build/runs/{name}", name=NOTEBOOKS),
    shell:
        """
        cp -p {input.notebooks} notebooks/
        python book/_ext/picture.py notebooks/04_gpu_fid_experiments.ipynb fig-reconstructions \
            book/_static/reconstructions.png
        mkdir -p data/runs
        for folder in {input.records}; do
            find "$folder" -mindepth 1 -maxdepth 1 -type d -exec cp -Rp {{}} data/runs/ \;
        done
        """


# A sweep: for each row of the tables, one run of the notebook that searches it, trains its seeds
# and writes their records into data/runs (or $ENVAE_RUNS). What has a record is not run again, and
# what was in training goes on from its last epoch. A row that fails is listed in its notebook.
rule sweep_row:
    input:
        notebook="notebooks/11_all_rows.ipynb",
        profile="notebooks/params/11_all_rows.{profile}.yaml",
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
