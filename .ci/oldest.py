"""Prints the oldest dependencies that pyproject.toml allows, and what the tests need, for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
for requirement in project["dependencies"]:
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={version}")
tools = ("pytest", "hypothesis", "mir_eval", "matplotlib")
for requirement in project["optional-dependencies"]["test"]:
    if re.match(r"[\w-]+", requirement)[0] in tools:
        print(requirement)
