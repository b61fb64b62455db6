"""Live pages over a model: type a transcript, set units to their means, see the board; numbers as the command line's.

session.py   an open model asked about positions, for `explain` and `serve` alike     serving.py   address, signals
app.py       the routes; guard.py: who may ask, and what answers carry               asked.py     a page's address
view.py      the page drawn from records; words.py: sentences; boards.py: its boards  assets/      style and script
"""
