"""The schema of a store, version by version; `mars.memory.schema` runs it in process.

Reads each wing's ``tables`` module and nothing else of mars.
"""
