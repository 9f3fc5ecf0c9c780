from hypothesis import given, strategies as st
from tests.dealing import QUICK, dealt

QUICK_ONES = [f"tests/unit/test_{module}.py::test_{number}" for module in "abc" for number in range(10)]
SLOW_ONES = [f"tests/system/test_{module}.py::test_{number}" for module in "defg" for number in range(3)]

TESTS = st.lists(st.sampled_from([*QUICK_ONES, *SLOW_ONES]), unique=True)
WORKERS = st.integers(1, 9)


def _same(id: str) -> str:
    return id


@given(TESTS, WORKERS)
def test_each_test_is_run_once(tests: list[str], workers: int) -> None:
    assert sorted(dealt(tests, workers, _same)) == sorted(tests)


def test_each_part_begins_with_its_share_of_the_slow_ones() -> None:
    order = dealt([*QUICK_ONES, *SLOW_ONES], 2, _same)
    half = len(order) // 2
    for part in (order[:half], order[half:]):
        slow = [not id.startswith(QUICK) for id in part]
        assert slow == [True] * 6 + [False] * 15


def test_the_tests_of_a_module_that_shares_what_it_starts_stay_together() -> None:
    order = dealt([*QUICK_ONES, *SLOW_ONES], 3, _same)
    for module in "defg":
        first = order.index(f"tests/system/test_{module}.py::test_0")
        assert order[first : first + 3] == [f"tests/system/test_{module}.py::test_{number}" for number in range(3)]


def test_the_slow_ones_alone_are_shared_by_module() -> None:
    order = dealt(SLOW_ONES, 2, _same)
    assert [id[18] for id in order[::3]] == list("dfeg")
