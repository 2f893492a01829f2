"""Every worked number in a docstring is right."""
import doctest
import importlib
import re

import pytest

from conftest import ROOT


def modules():
    """Names of the modules whose docstrings have examples."""
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")]):
        if re.search(r"^\s*>>> ", path.read_text(), re.M):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules()))
def test_worked_numbers(name):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted and not failed
