"""The static site of an atlas: a page for every neuron and head, lists and squares, from the tables alone.

build.py      all of it, by this process or several       check.py      written pages read back against the tables
sheets.py     a unit's rows at once; columns.py           alike.py      look-alikes of all neurons
unit_page.py  a unit's page; unit_words.py, panels.py     maps.py       boards as SVG; positions.py: examples replayed
pages.py      the first page; overview.py: the map        lists.py      what the scripts search; layers.py: without them
squares.py    who reads, writes, and tells what is legal  assets/       styles and scripts, no library among them
"""
