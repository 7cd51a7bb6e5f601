"""What a model was given, kept as files for calibration and evaluation, with what it said of each."""
