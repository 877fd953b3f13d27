"""The learner owns the model, its optimiser, device, precision and the order of the data."""

from dlt_core.learner.training import COMPILE_MODES, PRECISIONS, Learner, TrainingDiverged

__all__ = ["COMPILE_MODES", "PRECISIONS", "Learner", "TrainingDiverged"]
