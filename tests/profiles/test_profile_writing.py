import dataclasses
import math

import pytest

from llmrec.data import leave_one_out
from llmrec.errors import ArtifactError, ConfigError
from llmrec.profiles import (
    ProfileRequest,
    ProfileRequests,
    TemplateWriter,
    WriterError,
    estimate,
    item_requests,
    unwritten,
    user_requests,
    write_profiles,
)
from llmrec.templates import load_template


class CountingWriter:
    """Says how often it was asked for whom; fails at the requests it is told to."""

    template_fingerprint = "t"

    def __init__(self, fail_at=None, error=None, name="counting"):
        self.fingerprint = name
        self.asked = []
        self.fail_at = fail_at
        self.error = error or RuntimeError("the server hung up")

    def write(self, requests):
        texts = []
        for request in requests:
            self.asked.append(request.subject)
            if len(self.asked) == self.fail_at:
                if isinstance(self.error, WriterError):
                    raise WriterError(str(self.error), texts)
                raise self.error
            texts.append(f"about {request.subject}")
        return texts


class ScriptedWriter:
    """Answers with what it is given."""

    fingerprint = template_fingerprint = "scripted"

    def __init__(self, *answers):
        self.answers = answers

    def write(self, requests):
        return list(self.answers)


def requests_for(n, first=0):
    subjects = range(first, first + n)
    return ProfileRequests(
        "item", tuple(ProfileRequest("item", f"i{s}", {"title": f"T{s}"}) for s in subjects)
    )


def test_the_profiles_carry_what_the_requests_know(dataset, catalog, tmp_path):
    train = leave_one_out(dataset).train_histories()
    requests = user_requests(train, catalog)
    writer = TemplateWriter(load_template("user_profile"))
    profiles = write_profiles(requests, writer, tmp_path, shard_size=3)
    assert profiles.frame.rows() == [
        (r.subject, r.n_events, r.newest_item, r.newest_time, text)
        for r, text in zip(requests, writer.write(requests), strict=True)
    ]
    assert profiles.kind == "user"
    assert profiles.origin == train.origin
    assert profiles.writer_fingerprint == writer.fingerprint
    assert profiles.template_fingerprint == load_template("user_profile").fingerprint


def test_ids_keep_their_type(tmp_path):
    row = ProfileRequest("item", 7, {})
    profiles = write_profiles(ProfileRequests("item", (row,)), CountingWriter(), tmp_path)
    assert profiles.ids.to_list() == [7]


@pytest.mark.parametrize(
    ("error", "kept", "told"),
    [
        # the shard that failed is asked for again as a whole: nobody knows what was done of it
        (RuntimeError("the server hung up"), 6, "failed on item 'i6' to item 'i8'.*server hung up"),
        (WriterError("too long."), 6, "no profile of item 'i6': too long;"),
    ],
)
def test_an_interrupted_pass_continues(tmp_path, error, kept, told):
    requests, first = requests_for(20), CountingWriter(fail_at=7, error=error)
    with pytest.raises(WriterError, match=told) as caught:
        write_profiles(requests, first, tmp_path, shard_size=3)
    assert f"{kept} of 20 profiles are kept in {tmp_path}" in str(caught.value)
    assert first.asked == [f"i{n}" for n in range(7)]

    second = CountingWriter()
    assert [r.subject for r in unwritten(requests, second, tmp_path)] == [
        f"i{n}" for n in range(kept, 20)
    ]
    profiles = write_profiles(requests, second, tmp_path, shard_size=3)
    assert second.asked == [f"i{n}" for n in range(kept, 20)]
    assert profiles.texts.to_list() == [f"about i{n}" for n in range(20)]

    third = CountingWriter()
    again = write_profiles(requests, third, tmp_path)
    assert third.asked == []
    assert again.frame.equals(profiles.frame)


def test_texts_before_a_named_failure_are_kept(tmp_path):
    first = CountingWriter(fail_at=7, error=WriterError("too long"))
    with pytest.raises(WriterError, match=r"no profile of item 'i6': too long; 6 of 20"):
        write_profiles(requests_for(20), first, tmp_path, shard_size=10)
    second = CountingWriter()
    write_profiles(requests_for(20), second, tmp_path, shard_size=10)
    assert second.asked == [f"i{n}" for n in range(6, 20)]


def test_an_unnamed_failure_costs_its_shard_and_keeps_its_cause(tmp_path):
    first = CountingWriter(fail_at=7)
    with pytest.raises(WriterError, match="0 of 20 profiles") as caught:
        write_profiles(requests_for(20), first, tmp_path, shard_size=10)
    assert caught.value.__cause__ is first.error


def test_a_single_request_is_named_alone(tmp_path):
    with pytest.raises(WriterError, match=r"the writer failed on item 'i0': RuntimeError"):
        write_profiles(requests_for(1), CountingWriter(fail_at=1), tmp_path)


def test_a_keyboard_interrupt_passes_through_and_keeps_finished_shards(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_profiles(
            requests_for(9), CountingWriter(7, KeyboardInterrupt()), tmp_path, shard_size=3
        )
    assert len(unwritten(requests_for(9), CountingWriter(), tmp_path)) == 3


def test_only_new_subjects_are_written_when_requests_grow(tmp_path):
    write_profiles(requests_for(5), CountingWriter(), tmp_path, shard_size=2)
    second = CountingWriter()
    profiles = write_profiles(requests_for(9, first=2), second, tmp_path, shard_size=2)
    assert second.asked == ["i5", "i6", "i7", "i8", "i9", "i10"]
    assert profiles.texts.to_list() == [f"about i{n}" for n in range(2, 11)]


def test_a_changed_request_is_written_again(tmp_path):
    requests = requests_for(3)
    write_profiles(requests, CountingWriter(), tmp_path)
    changed = dataclasses.replace(requests[1], variables={"title": "another"})
    second = CountingWriter()
    rows = (requests[0], changed, requests[2])
    write_profiles(ProfileRequests("item", rows), second, tmp_path)
    assert second.asked == ["i1"]


def test_writers_do_not_read_each_others_texts(tmp_path):
    write_profiles(requests_for(3), CountingWriter(), tmp_path)
    other = CountingWriter(name="another")
    write_profiles(requests_for(3), other, tmp_path)
    assert len(other.asked) == 3
    first = CountingWriter()
    write_profiles(requests_for(3), first, tmp_path)
    assert first.asked == []


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["a", " ", "c"], "gave no text for item 'i1': ' '; 1 of 3"),
        (["a", None, "c"], "gave no text for item 'i1': None; 1 of 3"),
        (["a", "b"], "gave 2 texts for 3 requests, item 'i0' to item 'i2'; 0 of 3"),
    ],
)
def test_answers_that_are_no_texts(tmp_path, answers, told):
    with pytest.raises(WriterError, match=told):
        write_profiles(requests_for(3), ScriptedWriter(*answers), tmp_path)


def test_half_a_character_does_not_stop_a_pass(tmp_path):
    profiles = write_profiles(requests_for(1), ScriptedWriter("pen \ud83d"), tmp_path)
    assert profiles.texts.to_list() == ["pen ?"]


def test_damaged_shards_are_named(tmp_path):
    write_profiles(requests_for(3), CountingWriter(), tmp_path)
    (shard,) = tmp_path.glob("*.parquet")
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{shard.name} is damaged"):
        write_profiles(requests_for(3), CountingWriter(), tmp_path)
    shard.write_bytes(content)
    write_profiles(requests_for(1, first=8), CountingWriter(), tmp_path)
    other = next(file for file in tmp_path.glob("*.parquet") if file != shard)
    shard.write_bytes(other.read_bytes())
    with pytest.raises(ArtifactError, match="content does not match its name; remove it"):
        unwritten(requests_for(3), CountingWriter(), tmp_path)


def test_a_failed_write_leaves_no_shard(tmp_path, monkeypatch):
    def full(frame, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polars.DataFrame.write_parquet", full)
    with pytest.raises(Exception, match="No space left on device"):
        write_profiles(requests_for(3), CountingWriter(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="shard_size is 0"):
        write_profiles(requests_for(1), CountingWriter(), tmp_path, shard_size=0)
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="file is a file"):
        write_profiles(requests_for(1), CountingWriter(), tmp_path / "file")


def test_a_template_that_asks_for_more_than_a_request_has(tmp_path, catalog):
    writer = TemplateWriter(load_template("user_profile"))
    with pytest.raises(
        WriterError, match=r"no profile of item 'p1': .* needs the variable 'titles'"
    ):
        write_profiles(item_requests(catalog), writer, tmp_path)


def test_an_estimate_is_what_will_be_sent(catalog):
    requests, template = item_requests(catalog), load_template("item_profile_llm")
    prompts = TemplateWriter(template).write(requests)
    found = estimate(requests, template)
    assert found.calls == 6
    assert found.characters == sum(map(len, prompts))
    assert found.approx_tokens == math.ceil(found.characters / 4)


def test_the_rest_of_a_pass_can_be_estimated(tmp_path, catalog):
    requests, template = item_requests(catalog), load_template("item_profile")
    with pytest.raises(WriterError):
        write_profiles(requests, CountingWriter(fail_at=5), tmp_path, shard_size=2)
    assert estimate(unwritten(requests, CountingWriter(), tmp_path), template).calls == 2
