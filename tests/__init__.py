"""Everything that is tested; `tests.support` holds what several tests share."""
