"""Measures of tensors and of models; none of them trains anything or writes anything."""
