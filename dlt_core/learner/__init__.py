"""The learner owns the model, its optimiser, device, precision and the order of the data.

>>> sorted(learner.PRECISIONS)
['bf16', 'bf16-weights', 'fp32', 'tf32']
"""

from dlt_core.learner.training import COMPILE_MODES, PRECISIONS, Learner, TrainingDiverged

__all__ = ["COMPILE_MODES", "PRECISIONS", "Learner", "TrainingDiverged"]
