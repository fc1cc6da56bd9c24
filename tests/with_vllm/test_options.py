"""What ``llmrec adapters serve`` believes of vLLM's options, against vLLM's own parser."""

import contextlib
import io
from typing import get_args

import pytest

from llmrec.adapters.vllm_options import _REFUSED, require_allowed
from llmrec.errors import ConfigError
from llmrec.vllm_rooms import ROOMS

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def parser():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser())


def refused(word):
    try:
        require_allowed([word])
    except ConfigError:
        return True
    return False


def taken_for(parser, word):
    """The option that vLLM's parser takes a word for, or None."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            found = parser._parse_optional(word)
        except SystemExit:  # several options begin so
            return None
    found = found[0] if isinstance(found, list) else found
    return None if found is None or found[0] is None else found[1]


def test_every_beginning_that_the_parser_takes_is_refused_and_no_other_option_is(parser):
    options = [o for action in parser._actions for o in action.option_strings if o[:2] == "--"]
    assert set(_REFUSED) <= set(options)
    for option in options:
        assert refused(option) == (option in _REFUSED), option
    tried = 0
    for option in _REFUSED:
        for end in range(3, len(option) + 1):
            if taken_for(parser, option[:end]) in _REFUSED:
                tried += 1
                assert refused(option[:end]), option[:end]
    assert tried > len(_REFUSED)


def test_an_option_given_twice_is_the_last_one(parser):
    """Why they are refused."""
    found = parser.parse_args(["--model", "checked", "--host", "a", "--model", "b", "--hos=c"])
    assert (found.model, found.host) == ("b", "c")


def test_rooms_are_those_of_vllm():
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == ROOMS
