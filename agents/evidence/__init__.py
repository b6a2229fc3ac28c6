"""The keyless Checker's evidence: citations, numbers, dates, negation, speakers, newer records, answerability.

Pure functions over a `Review`; nothing here reads a store, a reference answer or the way in which a draft was made.
"""

from mars.agents.evidence.answerability import AnswerabilityModel, Features, features, shipped_model
from mars.agents.evidence.verifier import EvidenceVerifier, examine

__all__ = ["AnswerabilityModel", "EvidenceVerifier", "Features", "examine", "features", "shipped_model"]
