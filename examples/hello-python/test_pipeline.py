"""Run by `python3 -m unittest`. DUNLIN names the command, if it is not in the PATH; DUNLIN_MODEL says on which model."""

import json
import os
import subprocess
import unittest

from prompt import prompt


def dunlin(*arguments: str) -> str:
    command = [os.environ.get("DUNLIN", "dunlin"), *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


class Pipeline(unittest.TestCase):
    def test_the_prompt_is_the_text_with_what_is_asked(self):
        self.assertEqual(prompt(" disk sda failed\n"), "Summarize in one sentence:\ndisk sda failed")

    def test_it_is_built_fits_and_answers(self):
        dunlin("build", "--quiet")
        dunlin("check")
        said = dunlin("run", "./hello-python.wasm", "--json-lines", "--quiet", "--text", "sshd: Accepted key for ana")
        *chunks, end = map(json.loads, said.splitlines())
        streamed = "".join(chunk["text"] for chunk in chunks)
        self.assertTrue(streamed)
        self.assertEqual(end["result"], streamed)


if __name__ == "__main__":
    unittest.main()
