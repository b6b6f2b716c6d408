"""A fresh process before its first call."""


class Import:
    """What a user waits for before anything is computed."""

    timeout = 120

    def timeraw_tl(self) -> str:
        return "import scgeoae\nscgeoae.tl"

    def timeraw_scanpy_and_torch(self) -> str:
        """Time what is imported in any case, which is most of it."""
        return "import scanpy, torch"

    def peakmem_tl(self) -> None:
        import scgeoae

        assert scgeoae.tl
