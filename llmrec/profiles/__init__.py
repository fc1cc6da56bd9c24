"""Texts about users and items, written from training events and guarded against leaks."""

from llmrec.profiles.facts import ItemFields, split_category
from llmrec.profiles.guard import require_no_leak
from llmrec.profiles.profile import Profiles
from llmrec.profiles.requests import (
    ProfileRequest,
    ProfileRequests,
    item_requests,
    user_requests,
)
from llmrec.profiles.writers import ProfileWriter, TemplateWriter, WriterError
from llmrec.profiles.writing import Estimate, estimate, unwritten, write_profiles

__all__ = [
    "Estimate",
    "ItemFields",
    "ProfileRequest",
    "ProfileRequests",
    "ProfileWriter",
    "Profiles",
    "TemplateWriter",
    "WriterError",
    "estimate",
    "item_requests",
    "require_no_leak",
    "split_category",
    "unwritten",
    "user_requests",
    "write_profiles",
]
