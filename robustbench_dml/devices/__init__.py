"""Several devices in one run: a process for each, which share the images of a batch and the queries of an evaluation.

`docs/devices.md` says how, and how far one process and several come to the same.
"""
