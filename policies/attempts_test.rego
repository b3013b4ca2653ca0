package cortexops_test

test_fifth_attempt_may_be_made if ask({"attempt": 5}).effect == "allow"

test_sixth_attempt_is_denied if refused(ask({"attempt": 6}), "attempts_exhausted")
