"""Everything that may happen in a small scope, in every order: no promise of the protocol is ever broken.

What is modelled, and what is not, stands in ``simulated_log``; the scopes in ``simulated_workloads``.
"""

from __future__ import annotations

import pytest

from tests.streams.simulated_search import Search, show
from tests.streams.simulated_workloads import QUICK, SLOW, Case


def _search_to_the_end(case: Case) -> None:
    found = Search(case.work, case.scope).run()
    show(found)
    assert found.violation is None, str(found)
    assert found.states >= case.floor, "the scope is smaller than it was meant to be"


@pytest.mark.parametrize("case", QUICK.values(), ids=QUICK.keys())
def test_nothing_that_may_happen_breaks_a_promise_of_the_protocol(case: Case) -> None:
    _search_to_the_end(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW.values(), ids=SLOW.keys())
def test_nothing_that_may_happen_in_a_larger_scope_breaks_one(case: Case) -> None:
    _search_to_the_end(case)
