"""Executable companion to two papers on VAE decoders.

The energy score instead of a likelihood (EnVAE, FEnVAE; xu2025), and the decoder's variance by
maximum likelihood (AR-ELBO; takida2022). The parts, from the ground up: `scores`, `vae`,
`networks`, `datasets`, `objectives`, `training`, `metrics`, `published`, `records`, `claims`,
`plots`, `cli`.
"""

from envae.objectives import objective as objective
from envae.scores import energy_score as energy_score
from envae.vae import VAE as VAE
