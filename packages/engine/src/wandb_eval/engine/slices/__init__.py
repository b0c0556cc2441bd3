"""Where a model fails: properties of samples, and slices of them that are weak."""
