"""Each family of heads reads what was written for it: boxes are encoded here, and decoded there."""
