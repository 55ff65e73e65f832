"""Figures and tables that one chapter alone shows, a module for each chapter."""

from envae._unknown import extra

with extra("book"):
    import matplotlib as matplotlib
