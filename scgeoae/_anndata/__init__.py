"""The only modules that know where results are stored in an AnnData."""
