from tests.support.artifacts import X
def test_a():
    assert X == 1
