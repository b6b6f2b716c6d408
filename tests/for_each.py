"""Many small cases in one test."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Test = Callable[..., None]


def for_each(names: str, values: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test with each value in turn, as ``pytest.mark.parametrize`` does, but count it as one test.

    All cases run, and the failure names each one that failed. Fixtures are made once for all cases: a test that changes
    one has to copy it. Several of these decorators run each combination.

    Examples
    --------
    >>> @for_each("base, power", [(2, 3), (2, -1)])
    ... def test_powers_of_integers_are_integers(base, power):
    ...     assert isinstance(base**power, int)
    """
    arguments = [name.strip() for name in names.split(",")]

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)
        missing = set(arguments) - set(signature.parameters)
        assert not missing, f"{test.__name__} has no argument {missing}"

        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            failures, first = [], None
            for value in values:
                given = dict(zip(arguments, [value] if len(arguments) == 1 else value, strict=True))
                try:
                    test(**fixtures, **given)
                except Exception as error:  # noqa: BLE001 -- every case is run
                    failures.append(f"failed with {given!r}: {type(error).__name__}: {str(error)[:500]}")
                    first = first or error
                finally:
                    close_figures()
            if first is not None:
                for failure in failures:
                    first.add_note(failure)
                raise first

        kept = [parameter for name, parameter in signature.parameters.items() if name not in arguments]
        run.__signature__ = signature.replace(parameters=kept)
        return run

    values = list(values)
    assert values, "no cases"
    return decorate


def close_figures() -> None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
