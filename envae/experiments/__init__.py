"""Runs of the papers' experiments, their records, and the tables that are made of them."""
