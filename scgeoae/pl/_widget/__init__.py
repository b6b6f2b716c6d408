"""The interactive view: what it is given, what it asks Python, and the page that needs no Python."""
