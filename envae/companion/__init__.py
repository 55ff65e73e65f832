"""The book around the experiments: claims and verdicts, figures, tables, notebooks."""
