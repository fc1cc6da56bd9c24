"""Models of the tests of jobs; Ray's workers import this file."""

import os
import signal
from pathlib import Path

from llmrec.errors import ConfigError
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.hf import HFLanguageModel


class Killed:
    """A model whose process is killed in the midst of a call, once, when a prompt comes along."""

    def __init__(self, folder, prompt, marker):
        self.model = HFLanguageModel(folder, device="cpu")
        self.prompt, self.marker = prompt, Path(marker)

    @property
    def fingerprint(self):
        return self.model.fingerprint

    def generate(self, requests):
        asked = any(request.prompt == self.prompt for request in requests)
        found = self.model.generate(requests)
        if asked and not self.marker.exists():
            self.marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return found


class Choosy(FakeLanguageModel):
    """Refuses a prompt until a file is there."""

    def __init__(self, prompt, marker):
        super().__init__()
        self.prompt, self.marker = prompt, Path(marker)

    def score(self, requests):
        if not self.marker.exists() and any(r.prompt == self.prompt for r in requests):
            raise ConfigError("the key was refused; set another.")
        return super().score(requests)


def no_model():
    """Opening fails."""
    raise ConfigError("there is no model 'tinny:office'; did you mean 'tiny:office'?")
