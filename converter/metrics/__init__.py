"""What is measured of answers against the truth: numpy only, one module for each kind, each with its source."""
