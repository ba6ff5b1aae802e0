"""The dashboards: they collect the outputs of the stages and display them.

* :mod:`.board` collects outputs into the content of a screen; it computes no risk of its own.
* :mod:`.terminal` draws a board with rich, at 80 columns and more.
* :mod:`.plain_text` writes the same as lines of plain text, for logs and pipes.
* :mod:`.view` updates either while events arrive, and writes pictures.

To show something new, collect it in :mod:`.board` and draw it in both of the others.
"""
