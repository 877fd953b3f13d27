"""The batch: notebooks x presets x seeds through papermill; tables and figures made anew from records.

>>> from dlt_core.reproduce import batch
>>> "03_algorithm_1" in [path.stem for path in batch.NOTEBOOKS.glob("*.ipynb")]
True
"""
