"""What the OpenAPI document promises, against a running fleet: schemathesis makes up requests, good and bad ones, and no answer
may be an error of the server. Few of them, and the same each time: this looks for what breaks at once."""

import os
import sys

import schemathesis
from schemathesis.cli import schemathesis as command

URL = sys.argv[1]


@schemathesis.serializer("application/wasm")
def component(_context, value):
    """Whatever was made up, as bytes: no component is made up by chance."""
    return value if isinstance(value, bytes) else str(value).encode()


config = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemathesis.toml")
os.environ["NO_COLOR"] = "1"
arguments = [
    f"--config-file={config}",
    "run",
    f"{URL}/openapi.json",
    f"--url={URL}",
    "--checks=not_a_server_error",
    "--phases=examples,coverage,fuzzing",
    "--max-examples=6",
    "--seed=7",
    "--generation-deterministic",
    "--request-timeout=60",
    "--max-failures=20",
    "--continue-on-failure",
    # Events do not end.
    "--exclude-path=/v1/events",
    "--suppress-health-check=all",
    "--warnings=off",
    # What waits for a model is not waited for.
    "--header=x-dunlin-deadline-ms: 1500",
]
command(arguments)
