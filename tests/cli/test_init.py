"""``edgesnn init``: files that parse, that CI finds, and that do what was asked for."""

import os
import re
import shlex
import stat
import subprocess

import pytest
import yaml

from edgesnn import __version__

#: Where each CI file stands, and what a GitLab resource group may hold (GitLab, ``ci/resource_group.rb``).
FILES = {"github": ".github/workflows/edgesnn{}.yml", "gitlab": ".gitlab/edgesnn{}.yml"}
KEY = re.compile(r"[a-zA-Z0-9\-_/ ${}.]+")
TARGETS = [
    "cpu",
    "adb:0123",
    "adb:192.168.1.5:5555?cpus=big&throttled=refuse",
    "adb:adb-0123 (2)._adb-tls-connect._tcp",
    "ssh:pi@board",
    "ssh:pi@board?port=2222&folder=/data",
    "ssh:pi@[fe80::1%25eth0]",
]


def scripts(ci, text):
    """The parsed file's job, what it runs, and its group."""
    (job,) = (
        (parsed := yaml.safe_load(text))["jobs"].values() if ci == "github" else yaml.safe_load(text).values()
    )
    if ci == "github":
        assert set(parsed) == {"name", True, "permissions", "jobs"}
        return job, [step["run"] for step in job["steps"] if "run" in step], job["concurrency"]["group"]
    return job, job["script"], job["resource_group"]


@pytest.mark.parametrize("ci", FILES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_reaches_edgesnn_as_it_was_typed_and_its_group_is_safe(edgesnn_here, tmp_path, ci, target):
    made = edgesnn_here("init", "--ci", ci, "--bundle", "build/my bundle", "--target", target)
    assert made.exit_code == 0, made.stderr
    _, run, group = scripts(ci, (tmp_path / FILES[ci].format("")).read_text())
    (command,) = [
        line for part in run for line in part.replace("\\\n", " ").splitlines() if " profile " in line
    ]
    words = shlex.split(command)
    assert words[:5] == ["edgesnn", "profile", "build/my bundle", "--target", target]
    assert KEY.fullmatch(group) and group.startswith("edgesnn-")


@pytest.mark.parametrize("option", ["--target", "--bundle", "--install"])
@pytest.mark.parametrize(
    "value", ["x; rm -rf .", "$(id)", "a'b", 'a"b', "a\nb", "${{ secrets.X }}", "-x", "", "a`b`"]
)
def test_what_a_shell_or_a_ci_would_read_is_refused(edgesnn_here, tmp_path, option, value):
    refused = edgesnn_here("init", f"{option}={value}")
    assert refused.exit_code == 2 and option in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ci", FILES)
def test_nothing_is_replaced(edgesnn_here, tmp_path, ci):
    (tmp_path / ".gitattributes").write_text("*.bin binary\n")
    assert edgesnn_here("init", "--ci", ci).exit_code == 0
    assert (tmp_path / ".gitattributes").read_text() == "*.bin binary\nbaselines/*.jsonl merge=union\n"
    again = edgesnn_here("init", "--ci", ci)
    assert again.exit_code == 2 and "--force" in again.stderr
    assert edgesnn_here("init", "--ci", ci, "--force", "--target", "native").exit_code == 0
    assert "native" in (tmp_path / FILES[ci].format("")).read_text()
    assert edgesnn_here("init", "--ci", "none").exit_code == 2


@pytest.mark.parametrize("order", [("github", "gitlab"), ("gitlab", "github")])
def test_two_cis_live_in_one_repository_and_the_limits_that_were_set_stay(edgesnn_here, tmp_path, order):
    assert edgesnn_here("init", "--ci", order[0]).exit_code == 0
    profile = tmp_path / "edgesnn.toml"
    profile.write_text(profile.read_text() + "# my limits\n")
    second = edgesnn_here("init", "--ci", order[1], "--json")
    assert second.exit_code == 0 and {"edgesnn.toml", "baselines/README.md"} == set(second.document["kept"])
    assert profile.read_text().endswith("# my limits\n")
    assert all((tmp_path / path.format("")).is_file() for path in FILES.values())
    other = edgesnn_here("init", "--ci", "none", "--profile", "quick")  # asked for, so never passed over
    assert other.exit_code == 2 and "edgesnn.toml" in other.stderr


BELOW = {"pkg": "-pkg", "apps/my model": "-apps-my-model", "ü": "-folder"}


@pytest.mark.parametrize("marker", ["folder", "file"], ids=["repository", "worktree"])
@pytest.mark.parametrize("ci", FILES)
@pytest.mark.parametrize("below", BELOW)
def test_below_the_top_of_a_repository_the_file_goes_where_ci_looks(
    edgesnn_here, tmp_path, ci, marker, below
):
    git = tmp_path / ".git"
    git.mkdir() if marker == "folder" else git.write_text("gitdir: /elsewhere\n")
    folder = tmp_path / below
    folder.mkdir(parents=True)
    made = edgesnn_here("init", folder, "--ci", ci)
    assert made.exit_code == 0 and "CI looks for its file at the top only" in made.stdout
    assert (folder / "edgesnn.toml").is_file() and not (folder / ".github").exists()
    job, run, _ = scripts(ci, (tmp_path / FILES[ci].format(BELOW[below])).read_text())
    if ci == "github":
        assert job["defaults"]["run"]["working-directory"] == below
        assert job["steps"][-1]["with"]["path"] == f"{below}/build/edgesnn"
    else:
        assert run[0].startswith(f"cd {shlex.quote(f'./{below}')}\n")
        assert job["artifacts"]["reports"]["junit"] == f"{below}/build/edgesnn/junit.xml"


def test_gitlab_reads_the_gate_or_the_command_says_what_is_missing(edgesnn_here, tmp_path):
    assert edgesnn_here("init", "--ci", "gitlab").exit_code == 0
    entry = tmp_path / ".gitlab-ci.yml"
    assert yaml.safe_load(entry.read_text()) == {"include": [{"local": "/.gitlab/edgesnn.yml"}]}
    again = edgesnn_here("init", "--ci", "gitlab", "--force", "--json").document
    assert again["to_do"] == []
    entry.write_text("stages: [test]\n")
    told = edgesnn_here("init", "--ci", "gitlab", "--force")
    assert (
        "let .gitlab-ci.yml include the gate" in told.stdout and "local: /.gitlab/edgesnn.yml" in told.stdout
    )
    assert entry.read_text() == "stages: [test]\n"


PINNED = f"edgesnn=={__version__}"


@pytest.mark.parametrize("ci", FILES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), [PINNED]),
        (("--install", "edgesnn[phone]>=0.1,<0.3"), ["edgesnn[phone]>=0.1,<0.3"]),
        (("--source", "dist/edgesnn-0.1.0-py3-none-any.whl"), ["dist/edgesnn-0.1.0-py3-none-any.whl"]),
        (("--source", "https://x.example/edgesnn-0.1.0-py3-none-any.whl#sha256=ab"),
         ["https://x.example/edgesnn-0.1.0-py3-none-any.whl#sha256=ab"]),
        (("--source", "git+https://x.example/edgesnn.git@0123abc"), ["git+https://x.example/edgesnn.git@0123abc"]),
        (("--source", "https://pypi.example/simple"), ["--index-url", "https://pypi.example/simple", PINNED]),
    ],
)  # fmt: skip
def test_ci_installs_the_version_that_wrote_its_file_or_what_was_named(
    edgesnn_here, tmp_path, ci, arguments, words
):
    assert edgesnn_here("init", "--ci", ci, *arguments).exit_code == 0
    _, run, _ = scripts(ci, (tmp_path / FILES[ci].format("")).read_text())
    (command,) = [line for part in run for line in part.splitlines() if line.startswith("pip ")]
    assert shlex.split(command) == ["pip", "install", *words]


def test_what_is_written_runs(edgesnn_here, tmp_path):
    """The scripts of the GitLab file under a shell, with stand-ins that say how they were called."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "it's").mkdir()
    assert (
        edgesnn_here("init", "it's", "--ci", "gitlab", "--target", "ssh:pi@board?port=22&cpus=big").exit_code
        == 0
    )
    _, run, _ = scripts("gitlab", (tmp_path / FILES["gitlab"].format("-it-s")).read_text())
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("pip", "edgesnn"):
        (tools / name).write_text('#!/bin/sh\nprintf "%s|" "$(basename "$PWD")" "$@"; echo\n')
        (tools / name).chmod(stat.S_IRWXU)
    done = subprocess.run(
        ["sh", "-e"],
        input="\n".join(run),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("it's|") for line in lines) and len(lines) == 3
    assert "|--target|ssh:pi@board?port=22&cpus=big|" in lines[1]
