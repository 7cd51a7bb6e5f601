"""What makes a trained float model smaller and faster: rules, ranges, corrections, and the search for the best."""
