"""The mutants fit the code: what they change is there, and so are the tests that notice them."""

import pytest

from tests.mutate import Mutant, all_mutants


def test_every_mutant_fits_the_code() -> None:
    for mutant in all_mutants():
        assert mutant.text
        assert mutant.test_ids


@pytest.mark.parametrize(
    ("attribute", "said"),
    [("text", "holds 'no such code' 0 times"), ("test_ids", "there is no test_count::test_other")],
)
def test_a_mutant_that_does_not_fit_is_noticed(attribute: str, said: str) -> None:
    """The negative control."""
    mutant = Mutant("samplers/count.py", "a name", "no such code", "", ("test_count::test_other",))
    with pytest.raises(ValueError, match=said):
        getattr(mutant, attribute)
