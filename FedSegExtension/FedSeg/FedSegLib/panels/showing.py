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


def prepareTable(table, headers):
    """A table of texts, whose last column takes the room that there is."""
    table.setHorizontalHeaderLabels(headers)
    table.horizontalHeader().setStretchLastSection(True)
    table.horizontalHeader().setDefaultAlignment(qt.Qt.AlignLeft)
    table.verticalHeader().hide()


def fitHeight(table, most=240):
    """As high as its rows, up to some pixels; more of them are scrolled."""
    rows = sum(table.rowHeight(row) for row in range(table.rowCount))
    header = table.verticalHeader().defaultSectionSize
    table.setFixedHeight(header + min(max(rows, header), most) + 2 * table.frameWidth)


def fillTable(table, rows):
    """Other rows; what does not fit into a cell is its tool tip."""
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
    fitHeight(table)


def fillList(comboBox, names, chosen):
    """Other lines, without telling that the user chose one."""
    wasBlocked = comboBox.blockSignals(True)
    comboBox.clear()
    comboBox.addItems(names)
    comboBox.currentIndex = chosen if names else -1
    comboBox.enabled = len(names) > 1
    comboBox.blockSignals(wasBlocked)
