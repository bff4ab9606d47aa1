"""The curve of a training, drawn into a picture that a label shows."""

import qt
from slicer.i18n import tr as _

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 10, 26, 40
_LINE = 14


def plot(curves, palette):
    """Dice by round, both axes from 0 to their end; the legend stands below.

    :param curves: `training.Curve`s.
    :param palette: the colours of the widget, so that it is readable in dark mode too.
    """
    height = _HEIGHT + _LINE * (len(curves) - 1)
    picture = qt.QPixmap(_WIDTH, height)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(picture)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    text, faint = palette.color(qt.QPalette.Text), palette.color(qt.QPalette.Text)
    faint.setAlpha(70)
    painter.setPen(text)
    painter.drawText(_LEFT, 15, _("Dice on the validation cases, round by round"))
    for value in (0.0, 0.5, 1.0):
        painter.setPen(text)
        painter.drawText(6, round(_y(value)) + 4, f"{value:g}")
        painter.setPen(faint)
        painter.drawLine(round(_x(0)), round(_y(value)), round(_x(1)), round(_y(value)))
    for place, curve in enumerate(curves):
        colour = qt.QColor.fromHsv((210 + 137 * place) % 360, 200, 200)
        painter.setPen(qt.QPen(colour, 2))
        points = [(_x(x), _y(y)) for x, y in curve.points]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            painter.drawLine(round(x0), round(y0), round(x1), round(y1))
        for x, y in points:
            painter.drawEllipse(round(x) - 2, round(y) - 2, 4, 4)
        line = _HEIGHT - _BOTTOM + 24 + _LINE * place
        painter.drawLine(_LEFT, line - 4, _LEFT + 16, line - 4)
        painter.setPen(text)
        painter.drawText(_LEFT + 22, line, _legend(curve))
    painter.end()
    return picture


def _legend(curve):
    """A structure and its last Dice."""
    return f"{curve.name}: {curve.points[-1][1]:.2f}"


def _x(share):
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(value):
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)
