"""Data with its truth: pictures, rows, sound and arrays in the forms that people have them, for judging a model."""
