from hypothesis import given, strategies as st

from hanse.contract.guard import Guard, anyone, authenticated, scope
from hanse.kernel.message import Identity

SCOPES = st.frozensets(st.sampled_from("abc"))


def test_guards_tell_what_they_want() -> None:
    assert (scope("a") & scope("b") | authenticated).wants == "the scope a and the scope b or a known caller"


@given(SCOPES)
def test_guards_combine_like_conditions(scopes: frozenset[str]) -> None:
    ada = Identity("ada", scopes=scopes)
    a, b = scope("a"), scope("b")
    assert (a & b).allows(ada) == ("a" in scopes and "b" in scopes)
    assert (a | b).allows(ada) == bool(scopes & {"a", "b"})


def test_the_unknown_are_anyone_but_not_authenticated() -> None:
    assert anyone.allows(Identity())
    assert not authenticated.allows(Identity())
    assert authenticated.allows(Identity("ada"))


def test_a_guard_of_your_own_is_a_test_and_words() -> None:
    tenant = Guard(lambda who: who.tenant == "acme", "the tenant acme")
    assert tenant.allows(Identity("ada", tenant="acme"))
    assert not tenant.allows(Identity("ada"))
