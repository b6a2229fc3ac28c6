"""Derived indexes of vectors outside the process: interchangeable, droppable, rebuilt from the truth."""
