"""The keyless Checker's evidence: citations, numbers, dates, negation, speakers, newer records, answerability.

Pure functions over a `Review`; nothing here reads a store, a reference answer or the way in which a draft was made.
"""

from mars.agents.evidence.answerability import AnswerabilityModel, Features, features, shipped_model
from mars.agents.evidence.support import ClaimModels, shipped_claim_models
from mars.agents.evidence.verifier import EvidenceVerifier, Survey, decide, examine, survey

__all__ = [
    "AnswerabilityModel",
    "ClaimModels",
    "EvidenceVerifier",
    "Features",
    "Survey",
    "decide",
    "examine",
    "features",
    "shipped_claim_models",
    "shipped_model",
    "survey",
]
