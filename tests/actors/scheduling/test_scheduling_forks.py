"""A copy of the state to try things on: what is done to one is not done to the other."""

import pytest
from test_scheduling_campaign import Storm

from raftyard.actors.state.forks import fork


@pytest.mark.parametrize("seed", range(30))
def test_a_copy_and_the_original_go_their_own_ways(seed):
    one, other = Storm(seed), Storm(seed + 1000)
    one.rage(40)
    original, copy = one.state, fork(one.state)
    # From here on the other storm rages over the copy; its second member checks every outcome.
    other.state, other.index, other.term, other.calls = copy, one.index, one.term, one.calls
    other.other.restore(copy.snapshot())

    before = original.digest()
    other.rage(40)
    assert original.digest() == before
    original.check()

    before = copy.digest()
    one.rage(40)
    assert copy.digest() == before
    copy.check()
