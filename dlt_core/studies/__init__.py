"""What asks whether it works: methods by name, other agents, searches, the released code, diagnosis, tables.

>>> from dlt_core.studies.methods import REGISTRY
>>> REGISTRY["all_tied"].about
'one weight set for all layers'
"""
