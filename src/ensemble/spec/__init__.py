"""The ensemble file as checked data: models, loader, expressions, parameters, placeholders.

`load` reads a file and refuses it with line and column; `render` makes one job's `JobSpec`.
"""
