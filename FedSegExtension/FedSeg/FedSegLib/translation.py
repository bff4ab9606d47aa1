"""Slicer's `tr`, or the text itself where there is no Slicer."""

try:
    from slicer.i18n import tr
except ImportError:

    def tr(text):
        """The text, untranslated."""
        return text
