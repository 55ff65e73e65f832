"""Figures and tables that one chapter alone shows, a module for each chapter."""
