"""The curve of a training, drawn into a picture that a label shows."""

import qt

_WIDTH, _HEIGHT, _MARGIN = 360, 160, 28


def plot(curves, palette):
    """Dice by round, both axes from 0 to their end; one line and one legend entry a structure.

    :param curves: `training.Curve`s.
    :param palette: the colours of the widget, so that it is readable in dark mode too.
    """
    picture = qt.QPixmap(_WIDTH, _HEIGHT)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(picture)
    painter.setRenderHint(qt.QPainter.Antialiasing)
    text = palette.color(qt.QPalette.Text)
    for value in (0.0, 0.5, 1.0):
        painter.setPen(text)
        painter.drawText(2, round(_y(value)) + 4, f"{value:g}")
        painter.setPen(palette.color(qt.QPalette.Mid))
        painter.drawLine(round(_x(0)), round(_y(value)), round(_x(1)), round(_y(value)))
    for place, curve in enumerate(curves):
        colour = qt.QColor.fromHsv((210 + 137 * place) % 360, 200, 200)
        painter.setPen(qt.QPen(colour, 2))
        points = [(_x(x), _y(y)) for x, y in curve.points]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            painter.drawLine(round(x0), round(y0), round(x1), round(y1))
        for x, y in points:
            painter.drawEllipse(round(x) - 2, round(y) - 2, 4, 4)
        painter.drawText(_MARGIN + 6, _HEIGHT - _MARGIN - 6 - 14 * place, curve.name)
    painter.end()
    return picture


def _x(share):
    return _MARGIN + share * (_WIDTH - 2 * _MARGIN)


def _y(value):
    return _HEIGHT - _MARGIN - value * (_HEIGHT - 2 * _MARGIN)
