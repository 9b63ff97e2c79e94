"""The checker against histories made by hand: what it must find, and what it must not. No server."""
from fleet import PURPOSES
from model import WINDOW, Contradiction, Visitor

ALL = frozenset(("necessary", *PURPOSES))
NONE = frozenset(("necessary",))
PLAIN = frozenset(("necessary", "security"))


def visitor(**granted):
    """With a record, and one choice that is done."""
    v = Visitor("by hand")
    wanted = {p: "G" if on else "R" for p, on in (granted or {"statistics": True}).items()}
    v.answered(wanted, 200, {**dict.fromkeys(PURPOSES, "N"), **wanted}, 0.0, 0.01, "a" * 26)
    return v


def with_(*purposes):
    return PLAIN | set(purposes)


def a_grant_that_is_done_is_shown():
    visitor().looked("n", PLAIN, "store", 0.02, 0.03)


def a_grant_may_be_missing_without_the_store():
    visitor().looked("n", PLAIN, "degraded", 0.02, 0.03)


def a_refusal_is_shown_without_the_store_too():
    v = visitor()
    v.answered({"statistics": "R"}, 202, None, 0.02, 0.03)
    v.looked("n", with_("statistics"), "degraded", 0.04, 0.05)


def a_lost_answer_leaves_both():
    v = visitor()
    v.answered({"marketing": "G"}, 503, None, 0.02, 0.03)
    v.looked("n", with_("statistics"), "store", 0.04, 0.05)
    v.looked("n", with_("statistics", "marketing"), "store", 0.06, 0.07)
    v.looked("n", with_("statistics"), "store", 0.08, 0.09)  # another node, and the write may still be on its way


def a_later_answer_settles_it():
    v = visitor()
    v.answered({"marketing": "G"}, 503, None, 0.02, 0.03)
    v.answered({"preferences": "R"}, 200, {**dict.fromkeys(PURPOSES, "N"), "statistics": "G", "preferences": "R"}, 0.04, 0.05)
    v.looked("n", with_("statistics", "marketing"), "store", 0.06, 0.07)


def nothing_is_granted_to_who_has_no_record():
    v = Visitor("by hand")
    v.answered({"statistics": "G"}, 503, None, 0.0, 0.01)
    v.looked("n", with_("statistics"), "none", 0.02, 0.03)


def an_edit_may_be_late_for_a_moment():
    v = visitor()
    v.edited(["statistics"], True, 0.1, 0.2)
    v.looked("n", with_("statistics"), "cache", 0.2 + WINDOW - 0.01, 5.0)
    v.looked("n", PLAIN, "cache", 0.3, 0.4)


def an_edit_is_not_late_for_longer():
    v = visitor()
    v.edited(["statistics"], True, 0.1, 0.2)
    v.looked("n", with_("statistics"), "cache", 0.2 + WINDOW + 0.01, 5.0)


def an_edit_is_not_known_without_the_store():
    v = visitor()
    v.edited(["statistics"], True, 0.1, 0.2)
    v.looked("n", with_("statistics"), "degraded", 9.0, 9.1)


def an_edit_ends_with_the_next_grant():
    v = visitor()
    v.edited(["statistics"], True, 0.1, 0.2)
    v.answered({"statistics": "G"}, 200, {**dict.fromkeys(PURPOSES, "N"), "statistics": "G"}, 0.3, 0.4)
    v.looked("n", PLAIN, "store", 0.5, 0.6)


def an_answer_that_undoes_an_edit():
    v = visitor()
    v.edited(["statistics"], True, 0.1, 0.2)
    v.answered({"marketing": "R"}, 200, {**dict.fromkeys(PURPOSES, "N"), "statistics": "G", "marketing": "R"}, 0.3, 0.4)


def a_deleted_record_grants_nothing():
    v = visitor()
    v.erased(True, 0.1, 0.2)
    v.looked("n", with_("statistics"), "store", 2.0, 2.1)


def an_older_cookie_is_overruled_in_time():
    v = visitor()
    v.answered({"statistics": "R"}, 200, {**dict.fromkeys(PURPOSES, "N"), "statistics": "R"}, 0.1, 0.2)
    v.looked_with_old("n", with_("statistics"), "cache", 0.5, 0.6)
    v.looked_with_old("n", with_("statistics"), "degraded", 2.0, 2.1)
    v.looked_with_old("n", PLAIN, "cache", 2.0, 2.1)


def an_older_cookie_is_not_overruled():
    v = visitor()
    v.answered({"statistics": "R"}, 200, {**dict.fromkeys(PURPOSES, "N"), "statistics": "R"}, 0.1, 0.2)
    v.looked_with_old("n", with_("statistics"), "cache", 0.2 + WINDOW + 0.01, 2.1)


def an_objection_is_shown():
    v = visitor(security=False)
    v.looked("n", PLAIN, "cache", 0.2, 0.3)


def what_redis_holds():
    v = visitor()
    assert v.held({"granted": "statistics"}) is None
    assert v.held({"granted": "statistics", "refused": "marketing"}), "a refusal that nobody made"
    assert v.held({}) and v.held({"granted": "preferences"}) and v.held({"refused": "statistics"})
    v.answered({"marketing": "G"}, 0, None, 0.2, 0.3)
    assert v.held({"granted": "statistics,marketing"}) is None and v.held({"granted": "statistics"}) is None
    v.edited(PURPOSES, True, 0.4, 0.5)
    assert v.held({"granted": "statistics", "age": "under:13"}) is None and v.held({"granted": "statistics"})


def a_refusal_is_never_503():
    visitor().answered({"marketing": "R"}, 503, None, 0.2, 0.3)


def replication_may_forget_a_grant_and_never_a_refusal():
    v = visitor(statistics=True, marketing=False)
    v.loses = True
    v.looked("n", PLAIN, "store", 0.2, 0.3)
    assert len(v.losses) == 1
    v.looked("n", with_("marketing"), "store", 0.4, 0.5)


FINDS = (a_grant_that_is_done_is_shown, a_refusal_is_shown_without_the_store_too, a_later_answer_settles_it,
         nothing_is_granted_to_who_has_no_record, an_edit_is_not_late_for_longer, an_edit_ends_with_the_next_grant,
         an_answer_that_undoes_an_edit, a_deleted_record_grants_nothing, an_older_cookie_is_not_overruled, an_objection_is_shown,
         a_refusal_is_never_503, replication_may_forget_a_grant_and_never_a_refusal)
PASSES = (a_grant_may_be_missing_without_the_store, a_lost_answer_leaves_both, an_edit_may_be_late_for_a_moment,
          an_edit_is_not_known_without_the_store, an_older_cookie_is_overruled_in_time, what_redis_holds)


def selftest():
    """Yields (name, passed, what)."""
    for history in (*FINDS, *PASSES):
        try:
            history()
            found = None
        except (Contradiction, AssertionError) as why:
            found = why
        yield history.__name__, isinstance(found, Contradiction) if history in FINDS else found is None, found
