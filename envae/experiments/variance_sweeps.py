"""Tables 1 and E.8 of takida2022, sweeps over a variance: as published, and as recorded here."""

import math

import pandas as pd

from envae.experiments import published, records

LATENT_DIM = 8  # d_z of the paper's Section 4 (App. D.1)

# The columns of both tables, and what `measures.collapse` calls the same criterion.
COLUMNS = {
    "MSE": "squared_error",
    "KL": "kl",
    "sigma_z2": "posterior_variance",
    "MI": "mi_image_high",
    "gap_1e2": "gap_1e-2",
    "gap_1e3": "gap_1e-3",
    "ELS": "els",
}


def published_sweep(number: int | str, prefix: str) -> pd.DataFrame:
    """A sweep of the paper.

    Parameters
    ----------
    number
        1 or "E8".
    prefix
        How the names of the sweep's rows begin: "stochastic", "deterministic" or "log10".

    Returns
    -------
    DataFrame
        A row for each log10 of the variance; of `COLUMNS` those that the table has. ELS is Eq. 6,
        d_z times what is printed.
    """
    table = published.wide(f"takida2022_table{number}", "MNIST")
    sweep = table[table.index.str.startswith(prefix)].dropna(axis=1, how="all")
    point = sweep.index.str.split("=").str[-1].astype(float)
    sweep = sweep.assign(point=point, ELS=sweep["ELS"] * LATENT_DIM)
    return sweep.set_index("point").sort_index()


def recorded_sweep(
    objective: str, option: str | None = None, network: str = "mlp64"
) -> pd.DataFrame:
    """Longest recorded run on 10,000 images of MNIST at each point of a sweep, of each seed.

    Parameters
    ----------
    objective, network
        Of the runs.
    option
        The objective's option that is swept over; by default the posterior's variance is.

    Returns
    -------
    DataFrame
        Indexed by `point`, log10 of the variance, and `seed`; columns as `records.load` gives them.
    """
    recorded = records.load("smoothness_mnist-10000")
    of_sweep = (recorded["objective"] == objective) & (recorded["network"] == network)
    rows = recorded[of_sweep].sort_values("epochs")
    variances = rows["options"].str.get(option) if option else rows["posterior"]
    point = pd.to_numeric(variances, errors="coerce").map(math.log10).round(1) + 0.0  # not -0.0
    rows = rows.assign(point=point).dropna(subset="point")
    key = ["point", "seed"]
    return rows.drop_duplicates(key, keep="last").set_index(key).sort_index()
