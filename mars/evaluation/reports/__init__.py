"""The report of a simulation: one page, and the same in Markdown, from finished episodes and nothing else.

`measures` counts, `words` says what it comes to, `sections` draws each part, `memories` what happened to what was told,
`page` and `markdown` put it together.
"""

from __future__ import annotations

from mars.evaluation.reports.markdown import report_markdown
from mars.evaluation.reports.page import report_page
from mars.evaluation.reports.words import Origin

__all__ = ["Origin", "report_markdown", "report_page"]
