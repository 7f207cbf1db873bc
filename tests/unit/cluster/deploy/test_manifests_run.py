"""What the manifests and the operations guide run: commands, images, `ray up`."""

import json
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import typer.main
import yaml
from support.machine.manifests import FOLDER, ROOT, entrypoints, every, of_kind, one


def command_of(words: list[str]) -> None:
    """Walk down our command line; AssertionError at the first word that is no command or option of it."""
    from nsecast import app

    here = typer.main.get_command(app)
    while words:
        word, *words = words
        if word == "--":
            words and command_of(words)
            return
        if word.startswith("--"):
            option = word.partition("=")[0]
            known = {item: parameter for parameter in here.params for item in parameter.opts}
            assert option in known or option == "--help", f"{here.name} has no {option}"
            if "=" not in word and option in known and not getattr(known[option], "is_flag", False):
                words = words[1:]
        elif hasattr(here, "commands") and word in here.commands:
            here = here.commands[word]
        else:
            assert any(param.param_type_name == "argument" for param in here.params), f"{here.name}: {word}"


def commands_of(text: str) -> list[list[str]]:
    """Our commands in the shell blocks of a page, line by line, without prompts, comments and pipes."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    matches = re.findall(r"(?:^|-- |\$\()\s*(?:NSECAST_\w+=\S+ )?nsecast ([^#|>;)&\n]*)", blocks, re.M)
    return [shlex.split(match) for match in matches]


def test_jobs_run_commands_that_exist():
    monitor = one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    for words in [*map(shlex.split, entrypoints()), [*monitor["command"], *monitor["args"]]]:
        assert words[0] == "nsecast"
        command_of(words[1:])


def test_the_operations_guide_names_commands_that_exist():
    result = commands_of((ROOT / "docs" / "operations.md").read_text())
    assert len(result) > 15
    for words in result:
        command_of(words)


def test_the_operations_guide_makes_the_secrets_and_names_the_files():
    text = (ROOT / "docs" / "operations.md").read_text()
    for resource in of_kind("Secret"):
        assert f"create secret generic {resource['metadata']['name']}" in text
        assert all(f"--from-file={key}=" in text for key in resource["stringData"])
    assert all(name in text for name in sorted({name for name, _ in every()} | {"ray-up.yaml", "serve.yaml"}))


@pytest.mark.parametrize("command", [["serve", "--prot", "1"], ["models", "revert"], ["rollback"]])
def test_a_command_that_is_none_is_caught(command):
    with pytest.raises(AssertionError):
        command_of(command)


def test_the_image_without_tensorflow_leaves_out_only_what_serving_never_imports():
    text = (ROOT / "cluster" / "deploy" / "Dockerfile").read_text()
    left_out = re.search(r'ARG LEAVE_OUT="(.+)"', text)[1].split("|")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["all"]
    assert "tensorflow" in left_out and set(left_out) < {re.match(r"[\w-]+", item)[0] for item in needed}
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {left_out!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import nsecast, serve.app, serve.deployments.model_server, serve.cli.predict
import serve.deployments.router, serve.server
import ray.autoscaler._private.kuberay.run_autoscaler  # the head's second container
print("served")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "served\n", done.stderr


def test_the_dockerfile_is_clean_and_its_packages_pinned():
    hadolint = subprocess.run(
        [f"{sys.exec_prefix}/bin/hadolint", "--failure-threshold", "info", "cluster/deploy/Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert hadolint.returncode == 0, hadolint.stdout
    text = (ROOT / "cluster" / "deploy" / "Dockerfile").read_text()
    users = re.findall(r"^USER (.+)$", text, re.M)
    assert users[-1] == "10001:10001"
    assert all(
        "--constraint constraints.txt" in match
        for match in re.findall(r"pip install .*--requirement.*", text)
    )


def test_ray_up_is_what_ray_wants():
    from ray.autoscaler._private.util import prepare_config, validate_config

    document = yaml.safe_load((FOLDER / "ray-up.yaml").read_text())
    validate_config(prepare_config(document))
    text = json.dumps(document)
    assert text.count("RAY_AUTH_MODE=token") == text.count("RAY_SERVE_ENABLE_HA_PROXY=1") == 2
