"""Limits of validity that tests issue by: a day when nothing is asked, ninety at most, shortened if longer."""

from __future__ import annotations

from datetime import timedelta

from meshca.svid.profile import Profile

PROFILE = Profile(default_lifetime=timedelta(hours=24), max_lifetime=timedelta(days=90), refuse_longer=False)
