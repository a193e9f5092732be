"""Enter and exit are written once, and a plug-in need not derive from anything to have its own."""

import pytest

from edgesnn.closing import Closing
from edgesnn.meters.base import Meter
from edgesnn.runners.base import Runner


class Counted(Closing):
    closed = 0

    def close(self):
        self.closed += 1


def test_leaving_closes_and_entering_gives_the_thing_itself():
    with Counted() as made:
        assert made.closed == 0
    assert made.closed == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_every_way_out_closes_and_no_error_is_swallowed(error):
    made = Counted()
    with pytest.raises(error), made:
        raise error
    assert made.closed == 1


def test_what_cannot_be_closed_cannot_be_made():
    class Forgetful(Closing):
        pass

    with pytest.raises(TypeError, match="close"):
        Forgetful()


def test_an_error_of_closing_is_the_one_that_is_told():
    class Stuck(Closing):
        def close(self):
            raise OSError("stuck")

    with pytest.raises(OSError, match="stuck"), Stuck():
        pass


@pytest.mark.parametrize("contract", [Runner, Meter])
def test_the_contracts_bring_enter_and_exit_to_who_derives_from_them(contract):
    assert Closing in contract.__mro__
    assert contract.__enter__ is Closing.__enter__ and contract.__exit__ is Closing.__exit__


def test_a_plug_in_that_derives_from_nothing_is_loaded_all_the_same(monkeypatch):
    import sys
    from importlib import metadata
    from types import ModuleType

    from edgesnn import plugins

    class Alone:
        """A runner by its methods only."""

        name, summary, capabilities = "alone", "by itself", frozenset()
        missing = classmethod(lambda cls: None)
        open = close = lambda self, *_: None

    module = ModuleType("a_package")
    module.Alone = Alone
    monkeypatch.setitem(sys.modules, "a_package", module)
    entry = metadata.EntryPoint("alone", "a_package:Alone", plugins.RUNNERS)
    monkeypatch.setattr(plugins, "_entries", lambda group, name=None: iter([(entry, "a package")]))
    assert plugins.load_runner("alone") is Alone
