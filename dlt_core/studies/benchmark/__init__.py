"""How fast the training loop is, and how much memory it takes, against named alternatives."""
