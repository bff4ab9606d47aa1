"""What the panels show alike."""

import qt

from FedSegLib.texts import messageText


def tell(label, messages):
    """Messages in a label, which is not there where there are none."""
    label.text = messageText(messages)
    label.visible = bool(messages)


def showProgress(bar, progress):
    """How far a job is; until something is known a bar without an end moves.

    :param progress: an `events.Progress`, or None.
    """
    value = progress.value if progress else 0.0
    bar.maximum = 100 if value > 0 else 0
    bar.value = round(100 * value)


def prepareTable(table, headers, *, isWrapped=False):
    """A table of texts, whose last column takes the room that there is.

    :param isWrapped: the columns share the room instead, and long texts take several lines.
    """
    table.setHorizontalHeaderLabels(headers)
    table.horizontalHeader().setStretchLastSection(True)
    table.horizontalHeader().setDefaultAlignment(qt.Qt.AlignLeft)
    table.verticalHeader().hide()
    table.wordWrap = isWrapped
    if isWrapped:
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)


def fitHeight(table, most=240):
    """As high as its rows, up to some pixels; more of them are scrolled."""
    rows = sum(table.rowHeight(row) for row in range(table.rowCount))
    header = table.verticalHeader().defaultSectionSize
    table.setFixedHeight(header + min(max(rows, header), most) + 2 * table.frameWidth)


def _wrap(table):
    table.resizeRowsToContents()
    fitHeight(table)


def fillTable(table, rows):
    """Other rows; what does not fit into a cell is its tool tip."""
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
    qt.QTimer.singleShot(0, lambda: _wrap(table))  # a table that has just appeared has its width only then


def fillList(comboBox, names, chosen):
    """Other lines, without telling that the user chose one."""
    wasBlocked = comboBox.blockSignals(True)
    comboBox.clear()
    comboBox.addItems(names)
    comboBox.currentIndex = chosen if names else -1
    comboBox.enabled = len(names) > 1
    comboBox.blockSignals(wasBlocked)
