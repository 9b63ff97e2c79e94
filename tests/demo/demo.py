#!/usr/bin/env python3
"""`make demo`: the whole story on real servers, told aloud; each step is checked.

With --once it ends after the story; the exit status is 0 only if every check held.
"""
import json
import signal
import sys
import time

from stage import Stage, request

NAVIGATION = [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")]
ALL_COOKIES = "session=s1; _ga=GA1.1.7; _fbp=fb.1.9; mystery=42"
SHOWN = ("set-cookie", "location", "content-type", "retry-after", "tk", "vary")
bold, dim, red, plain = ("\033[1m", "\033[2m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4


class Story:
    def __init__(self, stage):
        self.stage = stage
        self.failures = 0
        self.checks = 0
        self.chapter = 0
        self.cookie = None  # our visitor's cookie, as a browser keeps it

    # ---- telling

    def title(self, text):
        self.chapter += 1
        print(f"\n{bold}{self.chapter}. {text}{plain}")

    def say(self, text):
        print(f"   {text}")

    def check(self, held, text):
        self.checks += 1
        if not held:
            self.failures += 1
        print(f"   {'ok    ' if held else red + 'FAILED' + plain} {text}")

    def call(self, server, method, path, headers=(), body=None, cookie=None):
        """One request, shown with its answer; keeps the visitor's cookie as a browser would."""
        fields = list(headers)
        line = "; ".join(c for c in (cookie, f"__Host-privacy={self.cookie}" if self.cookie else None) if c)
        if line:
            fields.append(("Cookie", line))
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            fields.append(("Content-Type", "application/json"))
        answer = request(self.stage.ports[server], method, path, fields, data)
        print(f"   {dim}{server:5} >{plain} {method} {path}")
        for name, value in fields:
            print(f"   {dim}      >{plain} {name}: {short(value)}")
        if data:
            print(f"   {dim}      >{plain} {data.decode()}")
        print(f"   {dim}      <{plain} {answer.status} {answer.reason}")
        for name, value in answer.headers:
            if name.lower() in SHOWN:
                print(f"   {dim}      <{plain} {name}: {short(value)}")
        if "json" in "".join(answer.all("Content-Type")):
            print(f"   {dim}      <{plain} {short(answer.body.decode().strip(), 230)}")
        for value in answer.all("Set-Cookie"):
            name, _, rest = value.partition("=")
            if name == "__Host-privacy":
                self.cookie = rest.split(";")[0]
        return answer

    def upstream_got(self, *names):
        fields = dict((k.lower(), v) for k, v in self.stage.upstream.last(*names))
        for name in names:
            print(f"   {dim}      upstream received{plain} {name}: {fields.get(name.lower(), '(nothing)')}")
        return [fields.get(n.lower(), "") for n in names]

    def cli(self, *args):
        out = self.stage.redis_cli(*args)
        print(f"   {dim}$ redis-cli{plain} {' '.join(a if ' ' not in a else repr(a) for a in args)}")
        lines = out.splitlines()
        if args[0] == "HGETALL":
            lines = [f"{name:9} {value}" for name, value in zip(lines[::2], lines[1::2])]
        for line in lines:
            print(f"   {dim}  |{plain} {short(line)}")
        return out

    # ---- the chapters

    def first_visit(self):
        self.title("A first visit: nothing was asked yet, so nothing is allowed that needs a yes")
        for server in ("nginx", "httpd"):
            answer = self.call(server, "GET", "/", NAVIGATION, cookie=ALL_COOKIES)
            cookies, consent = self.upstream_got("Cookie", "Privacy-Consent")
            self.check(answer.status == 200 and answer.cookies() == ["session"],
                       f"{server}: of the four cookies that the application set, only `session` left the server")
            self.check(cookies == "session=s1", f"{server}: of the four that the browser sent, only `session` arrived")
            self.check("statistics=?0;r=none" in consent, f"{server}: the application knows why")
        answer = self.call("nginx", "GET", "/insights/", NAVIGATION)
        self.check(answer.status == 303 and "/privacy/?return=" in answer.all("Location")[0],
                   "a page that needs statistics sends a browser to the choices, with the way back")
        answer = self.call("httpd", "GET", "/insights/")
        self.check(answer.status == 403, "and tells any other client 403")
        self.check(self.stage.redis_cli("DBSIZE") == "0", "nothing at all is kept about who only visits")

    def signals(self):
        self.title("Global Privacy Control: a visitor in the US, where the law is opt-out")
        us = [("X-Region", "US")]
        self.call("nginx", "GET", "/", us, cookie="_fbp=fb.1.9")
        before, = self.upstream_got("Cookie")
        answer = self.call("nginx", "GET", "/", us + [("Sec-GPC", "1")], cookie="_fbp=fb.1.9")
        after, consent = self.upstream_got("Cookie", "Privacy-Consent")
        self.check("_fbp" in before, "by default the marketing cookie passes there")
        self.check("_fbp" not in after and "marketing=?0;r=gpc" in consent, "with Sec-GPC: 1 it does not")
        self.check("_fbp" not in answer.cookies(), "nor is it set")
        answer = self.call("httpd", "GET", "/.well-known/gpc.json")
        self.check(json.loads(answer.body)["gpc"] is True, "/.well-known/gpc.json says that the signal is honoured")

    def consent(self):
        self.title("Consent given on nginx holds on httpd at once")
        answer = self.call("nginx", "POST", "/privacy/consent", body={"purposes": {"statistics": True}})
        self.check(answer.status == 200 and self.cookie, "the choice is kept in a signed cookie and in Redis")
        self.id = json.loads(answer.body)["id"]
        self.key = f"privacy:consent:{{{self.id}}}"
        record = self.cli("HGETALL", self.key)
        self.check("statistics" in record, "the record, as the operator reads it")
        answer = self.call("httpd", "GET", "/insights/", NAVIGATION, cookie=ALL_COOKIES)
        cookies, consent = self.upstream_got("Cookie", "Privacy-Consent")
        self.check(answer.status == 200, "httpd opens the page that needs statistics")
        self.check("_ga" in cookies and "_fbp" not in cookies, "`_ga` reaches the application, `_fbp` does not")
        self.check("_ga" in answer.cookies() and "__Host-privacy" not in cookies, "and our own cookie never does")
        honest = self.cookie
        self.cookie = honest[:-4] + ("AAAA" if not honest.endswith("AAAA") else "BBBB")
        answer = self.call("nginx", "GET", "/insights/")
        self.check(answer.status == 403, "a cookie that somebody changed is no consent, and no error either")
        self.cookie = honest

    def withdrawal(self):
        self.title("Withdrawal on httpd holds on nginx at once, even for an old copy of the cookie")
        old = self.cookie
        answer = self.call("httpd", "DELETE", "/privacy/consent", cookie=ALL_COOKIES)
        self.check(answer.status == 200 and answer.all("Tk") == ["U"], "as easy as giving it: one call")
        expired = [c for c in answer.all("Set-Cookie") if "Max-Age=0" in c or "1970" in c]
        self.check(any(c.startswith("_ga=") for c in expired) and not any(c.startswith("session=") for c in expired),
                   "and the cookies that are denied now are expired in the browser")
        self.cookie = old
        answer = self.call("nginx", "GET", "/insights/")
        self.check(answer.status == 403, "nginx refuses; the old cookie says otherwise and does not count")
        answer = self.call("nginx", "GET", "/", NAVIGATION)
        self.check(answer.status == 200, "every other page works as before")

    def child(self):
        self.title("An operator learns that a visitor is a child")
        self.call("nginx", "POST", "/privacy/consent", body={"purposes": {"statistics": True}})
        answer = self.call("nginx", "GET", "/account/", NAVIGATION)
        self.check(answer.status == 303 and "/privacy/age" in answer.all("Location")[0],
                   "an account needs an age: asked for once")
        self.call("nginx", "POST", "/privacy/age", body={"birth_date": "1990-05-03"})
        answer = self.call("httpd", "GET", "/account/")
        self.check(answer.status == 200, "who says 1990 gets in, on httpd too")
        self.check("1990" not in self.stage.redis_cli("HGETALL", self.key), "Redis holds bounds, not the date")
        self.cli("HSET", self.key, "age", "under:13")
        for server in ("nginx", "httpd"):
            answer = self.call(server, "GET", "/account/")
            self.check(answer.status == 403, f"{server}: the next request is refused")
        answer = self.call("nginx", "GET", "/insights/")
        self.check(answer.status == 403, "and a child's statistics are off")
        self.cli("HSET", self.key, "granted", "statistics,marketing")
        answer = self.call("nginx", "GET", "/privacy/consent")
        self.check(not json.loads(answer.body)["purposes"]["marketing"]["allowed"],
                   "edits by hand take away, they never add: a grant without its signature does not count")

    def outage(self):
        self.title("Redis is stopped: what still holds")
        self.cookie = None
        answer = self.call("nginx", "POST", "/privacy/consent", body={"purposes": {"statistics": True}})
        key = f"privacy:consent:{{{json.loads(answer.body)['id']}}}"
        self.stage.end("redis")
        self.say("(Redis is gone)")
        for server in ("nginx", "httpd"):
            started = time.monotonic()
            answer = self.call(server, "GET", "/insights/", cookie=ALL_COOKIES)
            took = time.monotonic() - started
            self.check(answer.status == 200 and took < 1, f"{server}: the signed cookie's own word counts; nobody waits")
        answer = self.call("nginx", "POST", "/privacy/consent", body={"purposes": {"marketing": True}})
        self.check(answer.status == 503 and not answer.all("Set-Cookie"), "a new grant cannot be proven: 503, later")
        answer = self.call("nginx", "POST", "/privacy/consent", body={"purposes": {"statistics": False}})
        self.check(answer.status == 202 and json.loads(answer.body)["stored"] is False,
                   "a refusal always takes effect: 202, in the cookie")
        answer = self.call("httpd", "GET", "/insights/")
        self.check(answer.status == 403, "httpd honours it, without Redis")
        self.stage.start_redis()
        self.say("(Redis is back, from its append-only file)")
        refused = ""
        for _ in range(100):
            request(self.stage.ports["nginx"], "GET", "/", [("Cookie", f"__Host-privacy={self.cookie}")])
            refused = self.stage.redis_cli("HGET", key, "refused")
            if "statistics" in refused:
                break
            time.sleep(0.1)
        self.cli("HGETALL", key)
        self.check("statistics" in refused, "the first node that sees the cookie while Redis answers writes the refusal")

    def tell(self):
        for chapter in (self.first_visit, self.signals, self.consent, self.withdrawal, self.child, self.outage):
            chapter()
        print(f"\n{bold}{self.checks - self.failures} of {self.checks} checks held{plain}", flush=True)
        return self.failures == 0


def short(text, limit=110):
    return text if len(text) <= limit else text[:limit] + "…"


def main():
    once = "--once" in sys.argv[1:]
    stage = Stage()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    held = False
    try:
        stage.prepare()
        for start in (stage.start_redis, stage.start_nginx, stage.start_httpd):
            start()
        print(f"nginx   http://127.0.0.1:{stage.ports['nginx']}/\nhttpd   http://127.0.0.1:{stage.ports['httpd']}/\n"
              f"Redis   127.0.0.1:{stage.ports['redis']}\nupstream 127.0.0.1:{stage.upstream.port}")
        held = Story(stage).tell()
        if not once:
            ports = stage.ports
            print(f"\nStill up, until Ctrl-C:\n"
                  f"  nginx  http://localhost:{ports['nginx']}/   choices http://localhost:{ports['nginx']}/privacy/\n"
                  f"  httpd  http://localhost:{ports['httpd']}/   choices http://localhost:{ports['httpd']}/privacy/\n"
                  f"  Redis  REDISCLI_AUTH=change-me-ops redis-cli -p {ports['redis']} --user privacy-ops\n"
                  f"  files  {stage.dir}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print()
    finally:
        stage.close()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
