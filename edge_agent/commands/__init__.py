"""The device's commands that have many options: each stands in a module of its own, and `cli` assembles them."""
