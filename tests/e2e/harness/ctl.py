"""privacyctl as an operator calls it."""
import json
import subprocess

from .proc import BUILD
from .redisd import settle


class Failed(Exception):
    pass


def privacyctl(*args, stdin=None, check=True):
    done = subprocess.run([str(BUILD / "privacyctl"), *map(str, args)], input=stdin, capture_output=True, text=True)
    if check and done.returncode:
        raise Failed(f"privacyctl {' '.join(map(str, args))}: {done.returncode} {done.stdout}{done.stderr}")
    if args[0] in ("consent", "age", "restrict"):
        settle("HSET")
    return done.stdout if check else done


def token(run, **fields):
    """A signed cookie value for the policy and keys of a running server; fields are those of a record."""
    args = ["token", "--policy", run.dir / "policy.json", "--keys", run.dir / "keys",
            "--cookie-name", run.cookie_name]
    return privacyctl(*args, *(f"{k}={v}" for k, v in fields.items())).strip().split("=")[-1]


def explain(policy, keys, cases, *more):
    """What privacyctl says about each case (a dict), as dicts."""
    text = "".join(json.dumps(case) + "\n" for case in cases)
    out = privacyctl("explain", "--policy", policy, "--keys", keys, "--batch", *more, stdin=text)
    return [json.loads(line) for line in out.splitlines()]
