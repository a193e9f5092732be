"""Records of versions that had fewer quantities of quality."""

import json

from edgesnn import profile_bundle
from edgesnn.cli.output import CommandOutput
from edgesnn.cli.profile.show import doubts, render
from edgesnn.record.files import read_run, write_run
from tests.support.bundles import shared_bundle

PROFILE = (
    'schema = "edgesnn.profile/1"\nname = "p"\n[workload]\nwindows = 1\nmin_window_seconds = 0.0\n'
    "min_window_tokens = 4\nfirst_tokens = 0\nactivity_tokens = 0\nmemory_probes = 0\n"
    "accuracy_tokens = 50\nparity_tokens = 4\nwarmup_tokens = 2\n"
)
NEWER = {
    f"accuracy.{name}" for name in ("perplexity", "own_perplexity", "teacher_perplexity", "teacher_top1")
}


def test_a_record_without_the_newer_quantities_is_read_and_shown(tmp_path, capsys):
    (tmp_path / "p.toml").write_text(PROFILE)
    path = tmp_path / "run.json"
    write_run(profile_bundle(shared_bundle(), profile=str(tmp_path / "p.toml"), compare=False), path)
    document = json.loads(path.read_text())
    assert document["quantities"].keys() >= NEWER
    for name in NEWER:
        del document["quantities"][name]
    document["not_measured"] = [one for one in document["not_measured"] if one["name"] not in NEWER]
    path.write_text(json.dumps(document))
    record = read_run(path).record
    render(CommandOutput("profile", False), record, details=True)
    shown = capsys.readouterr().out
    assert "bits per byte" in shown and "perplexity" not in shown and doubts(record) == []
