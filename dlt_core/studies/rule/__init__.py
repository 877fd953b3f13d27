"""A rule that hears: untie where the gradients disagree; rewards from which an agent can learn; and their peers.

Nothing in here is from the paper.
"""
