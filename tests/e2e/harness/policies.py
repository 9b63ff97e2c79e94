"""The policy that tests start from, and the project's own."""
import copy
import json

from .proc import ROOT

BASE = {
    "schema": 1,
    "policy": {"id": "test", "version": "2024-03-15", "since": "2024-03-15", "effective": "2024-03-15",
               "url": "/privacy-policy", "controller": "Example", "contact": "privacy@example.test",
               "storage_region": "EU", "authority": {"FR": "https://www.cnil.fr", "*": "https://edpb.europa.eu"}},
    "purposes": {
        "necessary": {"basis": "contract", "title": {"en": "Necessary"}},
        "preferences": {"basis": "consent", "title": {"en": "Preferences"}},
        "statistics": {"basis": "consent", "dnt": "yield", "gpc": "yield", "title": {"en": "Statistics"}},
        "marketing": {"basis": "consent", "dnt": "deny", "gpc": "deny", "sale": True, "title": {"en": "Marketing"}},
        "security": {"basis": "legitimate_interests", "title": {"en": "Security"}, "exempt": "protects the login"},
    },
    "vendors": {
        "analytics": {"purpose": "statistics", "title": "Analytics", "location": "US", "hosts": ["*.analytics.test"]},
        "adtech": {"purpose": "marketing", "title": "Adtech", "regions": ["US"], "hosts": ["ads.test/x/"]},
        "cards": {"purpose": "necessary", "title": "Cards", "hosts": ["js.cards.test"]},
    },
    "cookies": {
        "necessary": ["session", "csrftoken", {"name": "__cards_*", "vendor": "cards"}],
        "preferences": ["lang"],
        "statistics": ["_ga", "_ga_*", "_gid", {"name": "an_*", "vendor": "analytics"}, "uid", "Apache"],
        "marketing": ["_fbp", {"name": "ad_*", "vendor": "adtech"}],
        "security": ["device"],
    },
    "unknown_cookies": "deny",
    "jurisdictions": {
        "opt-in": {"regions": ["FR", "DE", "DK", "GB"], "default": "deny", "notice": "opt-in"},
        "opt-out": {"regions": ["US"], "default": "allow", "notice": "opt-out"},
        "*": {"default": "deny"},
    },
    "age": {"minimum": 13, "unknown_region": 16, "sale_opt_in": 16, "regions": {"FR": 15, "DK": 15, "DE": 16}},
    "lifetimes": {"choice": "182d", "refusal": "395d", "maximum": "395d", "history": "5y", "age": "182d"},
}


def policy(**changes):
    """BASE with members replaced; `purposes={"statistics": {...}}` merges into that purpose, None removes it.
    `cookies=` and `jurisdictions=` replace as a whole."""
    out = copy.deepcopy(BASE)
    for key, value in changes.items():
        if value is None:
            out.pop(key)
        elif key in ("purposes", "policy", "vendors", "lifetimes", "age"):
            for name, member in value.items():
                if member is None:
                    out[key].pop(name)
                elif isinstance(member, dict) and isinstance(out[key].get(name), dict):
                    out[key][name].update(member)
                else:
                    out[key][name] = member
        else:
            out[key] = value
    return out


def shipped(name="policy.json"):
    return json.loads((ROOT / "config" / name).read_text())
