"""Tables of published methods, reproduced: one module per table, with a function that returns Markdown."""
