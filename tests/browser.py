"""A browser without a screen, for a process of its own: opens a page, waits for one JavaScript
expression after the other to become true, and prints what each of them then is.

``python browser.py URL WIDTH EXPRESSION...``
"""

import json
import os
import sys

os.environ |= {
    "QT_QPA_PLATFORM": "offscreen",
    # As root, in a container, and without a word to anybody but the page.
    "QTWEBENGINE_DISABLE_SANDBOX": "1",
    "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-background-networking --disable-component-update "
    "--disable-gpu --disable-quic --disable-sync",
}

from PySide6.QtCore import QTimer, QUrl
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication


def main(url: str, width: str, *expressions: str) -> None:
    app = QApplication([])
    view = QWebEngineView()
    view.resize(int(width), 800)
    view.show()
    waiting = list(expressions)

    def ask() -> None:
        view.page().runJavaScript(f"JSON.stringify({waiting[0]})", 0, answered)

    def answered(found: str) -> None:
        if found and json.loads(found):
            print(found, flush=True)
            del waiting[0]
        if waiting:
            QTimer.singleShot(10, ask)
        else:
            app.quit()

    view.loadFinished.connect(ask)
    view.load(QUrl(url))
    app.exec()


if __name__ == "__main__":
    main(*sys.argv[1:])
