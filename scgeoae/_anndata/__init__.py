"""The only place that knows where results live in an AnnData."""
