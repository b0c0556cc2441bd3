"""The weaknesses of a model: properties of samples, and weak slices of samples."""
