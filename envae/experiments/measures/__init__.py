"""What is measured of a trained model: `(vae, objective, dataset, seed)` to values with units."""
