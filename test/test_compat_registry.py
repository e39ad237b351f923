"""Names: what TorchDrug and other projects find by name they still find, whatever this package registers."""
import json
import os
import re

import pytest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "registry_facts.py")


@pytest.fixture(scope="module")
def facts(python):
    def ask(which):
        # TorchDrug's own import sets up a log on the standard output
        return json.loads(python(SCRIPT, which).stdout.splitlines()[-1])

    return {which: ask(which) for which in ("alone", "plugin", "others")}


@pytest.mark.parametrize("which", ["plugin", "others"])
def test_every_search_of_the_host_gives_the_same(facts, which):
    """By leaf name and by whole key the same object, or the same error where the host is ambiguous."""
    alone, now = facts["alone"]["found"], facts[which]["found"]
    assert len(alone) > 300
    different = {name: (found, now[name]) for name, found in alone.items() if found != now[name]}
    assert different == {}


@pytest.mark.parametrize("which", ["plugin", "others"])
def test_our_names_are_found_by_their_leaf(facts, which):
    ours = set(facts["plugin"]["keys"]) - set(facts["alone"]["keys"])
    assert len(ours) > 15
    for key in ours:
        leaf = key.split(".")[-1]
        assert facts[which]["found"][leaf].split(" of ")[0] == key
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", leaf), "%s is no whole CamelCase word" % leaf


def test_other_projects_find_their_own(facts):
    assert set(facts["others"]["theirs"].values()) == {True}


def test_no_entry_of_the_host_is_gone(facts):
    assert set(facts["alone"]["keys"]) <= set(facts["plugin"]["keys"])
