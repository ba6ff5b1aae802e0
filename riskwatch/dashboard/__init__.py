"""The screens: what the stages put out, folded and shown.

* :mod:`.board` folds outputs into what a screen shows; it computes no risk of its own.
* :mod:`.terminal` draws a board with rich, at 80 columns and more.
* :mod:`.plain` says the same in lines of plain text, for logs and pipes.
* :mod:`.show` keeps either up to date while events come in, and takes pictures.

To show something new, fold it in :mod:`.board` and draw it in both of the others.
"""
