"""Tables of the literature, made again: one module a table, each with a function that returns Markdown."""
