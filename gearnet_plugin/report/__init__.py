"""One self-contained HTML page about a run: sections of text, tables and figures."""

from .page import Page, Section

__all__ = ["Page", "Section"]
