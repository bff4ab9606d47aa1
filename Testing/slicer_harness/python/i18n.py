"""Texts as they are written: there is one language here."""


def tr(text):
    """The translation of a text, told by its file."""
    return text


def translate(context, text):
    """The translation of a text, told by its context."""
    return text
