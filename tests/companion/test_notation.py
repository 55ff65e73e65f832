"""Formulas in the ledger's text."""

import pytest
from book_scripts import script

notation = script("_ext/envae_notation")

MARKS = {"subscript": "_{%s}", "superscript": "^{%s}"}


@pytest.mark.parametrize(
    ("text", "typeset"),
    [
        ("squared error over 2 sigma_x^2 plus", "squared error over 2 σ_{x}^{2} plus"),
        ("ln(1/sigma_x^2).", "ln(1/σ_{x}^{2})."),
        ("a beta-VAE at beta = 1", "a β-VAE at β = 1"),
        ("c_beta e^beta sigma^(2d).", "c_{β} e^{β} σ^{2d}."),
        ("||mu||^2 and (x_i - g_i)^2", "||μ||^{2} and (x_{i} - g_{i})^{2}"),
        ("d_z 8 to 128", "d_{z} 8 to 128"),
        # No formulas: words, names of code, files, numbers.
        ("alphabet, kl_weight, fd_gmm10, mnist_cnn", "alphabet, kl_weight, fd_gmm10, mnist_cnn"),
        ("rates a_bc and x^y stay", "rates a_bc and x^y stay"),
        ("", ""),
    ],
)
def test_indices_powers_and_greek_letters_are_set(text, typeset):
    found = notation.typeset(text)
    assert "".join(MARKS.get(node.tagname, "%s") % node.astext() for node in found) == typeset
