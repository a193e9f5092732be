"""Nearest names."""

from edgesnn.names import nearest, suggestion, unknown


def test_the_nearest_name_comes_first_whatever_its_case():
    assert nearest("Exprot", ["train", "export", "exporter"])[0] == "export"


def test_nothing_is_suggested_for_a_name_like_no_other():
    assert nearest("zzz", ["train", "export"]) == []


def test_without_a_near_name_all_are_listed():
    assert suggestion("zzz", ["b", "a"]) == "known: a, b"


def test_without_any_name_there_is_no_suggestion():
    assert suggestion("zzz", []) is None


def test_an_unknown_name_is_a_usage_error_that_names_the_nearest():
    error = unknown("runner", "goldn", ["golden", "onnxruntime"])
    assert error.exit_code == 2
    assert error.what == "there is no runner 'goldn'"
    assert error.remedy == "did you mean 'golden'?"
