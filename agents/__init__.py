"""The people: User, Assistant, Checker and Reflector, their prompts, verdicts and reflections.

Read `mars.agents.interfaces` first. Agents know memory by its interfaces only, and no database, index or graph.
"""
