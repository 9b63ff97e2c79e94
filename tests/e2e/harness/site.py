"""One declaration of a site, rendered for nginx and for httpd, so that a test never knows which one answers.

A directive is named as in nginx without its `privacy_` (`require="statistics"` is `privacy_require statistics;`
and `PrivacyRequire statistics`); `mode` is the directive `privacy` itself. True stands for a directive that only
switches something on. In values and raw lines, @dir@ @docroot@ @upstream@ @redis@ @port@ @build@ are filled in.
"""
import json

from . import policies

HTTPD_MODULES = (
    "authn_core authn_file auth_basic authz_core authz_host authz_user access_compat alias dir env headers mime "
    "filter deflate include negotiation rewrite setenvif proxy proxy_http cache cache_disk usertrack cgid actions "
    "socache_shmcb ssl http2 reqtimeout").split()

# What the tests' certificates, accounts and files are called inside a server's directory.
CERTIFICATE = "cert.pem"
THREADS_PER_CHILD = 80  # httpd


def camel(name):
    return "Privacy" if name == "mode" else "Privacy" + "".join(p.capitalize() for p in name.split("_"))


def directive(server, name, value):
    """The line of one directive, or of several when the value is a list."""
    if isinstance(value, (list, tuple)):
        return [line for v in value for line in directive(server, name, v)]
    if name == "region" and value in (True, "header"):
        value = "$http_x_region" if server == "nginx" else '"%{HTTP:X-Region}"'
    if name == "subject" and value is True:
        value = "$remote_user" if server == "nginx" else '"%{REMOTE_USER}"'
    if server == "nginx":
        name = "privacy" if name == "mode" else "privacy_" + name
        return [f"{name} {'on' if value is True else value};"]
    if name in ("mode", "forward") or value is True:
        value = "On" if value is True else str(value).capitalize()
    return [f"{camel(name)} {value}"]


class Loc:
    """proxy: to the recording upstream, the path kept; otherwise files below the document root."""

    def __init__(self, path, proxy=False, exact=False, nginx="", httpd="", **directives):
        self.path, self.proxy, self.exact = path, proxy, exact
        self.raw = {"nginx": nginx, "httpd": httpd}
        self.directives = directives

    @property
    def answers_itself(self):
        return self.directives.get("endpoint") or self.directives.get("well_known")

    def lines(self, server, any_proxy):
        body = [line for name, value in self.directives.items() for line in directive(server, name, value)]
        raw = [line.strip() for line in self.raw[server].strip().splitlines()]
        target = f"http://127.0.0.1:@upstream@"
        if server == "nginx":
            if self.proxy:
                body.append(f"proxy_pass {target};")
            mark = "= " if self.exact else ""
            head, end = f"location {mark}{self.path} {{", "}"
        else:
            if self.proxy:
                # ProxyPass in <Location> wants a path; in <LocationMatch> the request's own is appended
                body.append(f'ProxyPass "{target}{"" if self.exact else self.path}"')
            elif any_proxy:
                body.append('ProxyPass "!"')
            if self.exact:
                head, end = f'<LocationMatch "^{self.path}$">', "</LocationMatch>"
            else:
                head, end = f'<Location "{self.path}">', "</Location>"
        return [head, *("    " + line for line in body + raw), end]


class Vhost:
    """One more server block, by name, with directives of its own."""

    def __init__(self, name, *locs, **directives):
        self.name, self.locs, self.directives = name, locs, directives


class Site:
    def __init__(self, *locs, mode="on", policy=None, keys=None, home="/privacy/", endpoint=True, region=True,
                 store="off", main=None, server=None, nginx="", nginx_top="", nginx_http="", httpd="",
                 httpd_main="", tls=False, mpm="event", vhosts=(), files=None, log=False, modules=(), gate=True,
                 workers=2):
        self.locs = list(locs) or [Loc("/", proxy=True)]
        self.policy = policies.policy() if policy is None else policy
        self.keys, self.home, self.store, self.tls, self.mpm = keys, home, store, tls, mpm
        self.vhosts, self.log, self.modules, self.gate, self.workers = vhosts, log, modules, gate, workers
        self.files = {"index.html": "<!doctype html><title>home</title><p>home</p>", **(files or {})}
        self.main = {"policy": "@dir@/policy.json", "key_file": "@dir@/keys", "limit": "off"} if gate else {}
        if gate and region:
            self.main["region"] = region
        if gate and home != "/privacy/":
            self.main["home"] = home
        self.main.update(main or {})
        self.main = {k: v for k, v in self.main.items() if v is not None}
        self.server = {"mode": mode, **(server or {})} if gate and mode else dict(server or {})
        self.raw = {"nginx": nginx, "nginx_top": nginx_top, "nginx_http": nginx_http,
                    "httpd": httpd, "httpd_main": httpd_main}
        if gate and endpoint:
            self.locs += [Loc(home, endpoint=True), Loc("/.well-known/", well_known=True)]

    @property
    def cookie_name(self):
        value = self.server.get("cookie") or self.main.get("cookie") or "__Host-privacy"
        return value.split()[0]

    def policy_text(self):
        return self.policy if isinstance(self.policy, str) else json.dumps(self.policy, indent=1)

    def store_lines(self, server):
        if not self.gate or self.store == "off":
            return []
        url = "redis://privacy@127.0.0.1:@redis@/0" if self.store == "redis" else self.store
        out = directive(server, "store", url)
        if self.store == "redis":
            out += directive(server, "store_password_file", "@redis_password@")
        # generous, so that a busy machine does not turn a slow reply into an outage; tests of the deadline set their own
        if "store_timeout" not in self.main:
            out += directive(server, "store_timeout", "2s")
        return out

    def _block(self, server, locs, directives):
        any_proxy = any(l.proxy for l in locs)
        # httpd merges sections in order, nginx takes the longest: shortest first makes them agree
        ordered = sorted(locs, key=lambda l: (l.exact, len(l.path)))
        out = [line for k, v in directives.items() for line in directive(server, k, v)]
        for loc in ordered:
            out += loc.lines(server, any_proxy)
        return out

    def render(self, server):
        return self._nginx() if server == "nginx" else self._httpd()

    VARIABLES = ("purposes denied reason variant id age signals region state removed unknown addr "
                 "request_uri rows").split()

    def _nginx(self):
        out = [self.raw["nginx_top"]]
        if self.gate:
            out.append("load_module @build@/ngx_http_privacy_module.so;")
        out += ["@user@", f"worker_processes {self.workers};", "pid @dir@/nginx.pid;", "error_log @dir@/error.log notice;",
                "worker_shutdown_timeout 3s;",
                "events { worker_connections 512; }", "http {", "types { text/html html shtml; text/css css; }",
                "default_type application/octet-stream;", "server_tokens off; keepalive_timeout 20s;",
                "proxy_set_header Host $http_host;", "ssi_types text/html;",
                *(f"{p}_temp_path @dir@/var/{p};" for p in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))]
        if self.log:
            fields = " ".join(f"{v}=<$privacy_{v}>" for v in self.VARIABLES)
            out.append(f"log_format privacy 'target=<$request_uri> {fields}';")
            out.append("access_log @dir@/var/access.log privacy;")
        else:
            out.append("access_log off;")
        out += [line for k, v in self.main.items() for line in directive("nginx", k, v)]
        out += self.store_lines("nginx") + [self.raw["nginx_http"]]
        blocks = [("www.example.test", self.locs, self.server, self.raw["nginx"])]
        blocks += [(v.name, v.locs, v.directives, "") for v in self.vhosts]
        for i, (name, locs, directives, raw) in enumerate(blocks):
            listen = "127.0.0.1:@port@" + (" ssl http2" if self.tls else "") + (" default_server" if i == 0 else "")
            out += ["server {", f"listen {listen};", f"server_name {name};", "root @docroot@;"]
            if self.tls:
                out += ["ssl_certificate @cert@;", "ssl_certificate_key @cert@;"]
            out += [raw, *self._block("nginx", locs, directives), "}"]
        return "\n".join(line for line in out + ["}"] if line) + "\n"

    def _httpd(self):
        out = ["ServerRoot @dir@", "ServerName www.example.test", "Listen 127.0.0.1:@port@", "PidFile @dir@/httpd.pid",
               "ErrorLog @dir@/error.log", "LogLevel notice", "Mutex file:@dir@/var default",
               f"LoadModule mpm_{self.mpm}_module @httpd_modules@/mod_mpm_{self.mpm}.so"]
        for name in [*HTTPD_MODULES, *self.modules]:
            if name == "http2" and self.mpm == "prefork":
                continue
            out.append(f"LoadModule {name}_module @httpd_modules@/mod_{name}.so")
        if self.gate:
            out.append("LoadModule privacy_module @build@/mod_privacy.so")
        out += ["@user@", "TypesConfig @dir@/mime.types", "ScriptSock @dir@/var/cgid.sock", "KeepAlive On",
                "KeepAliveTimeout 20", "Timeout 30", "MaxKeepAliveRequests 0", "GracefulShutdownTimeout 3",
                "CacheRoot @dir@/var", "RequestReadTimeout header=20-40,MinRate=500 body=20,MinRate=500",
                "AcceptFilter http none"]
        if self.mpm == "prefork":
            out += ["StartServers 2", "MinSpareServers 1", "MaxSpareServers 4", "MaxRequestWorkers 32"]
        else:
            out += [f"StartServers {self.workers}", f"ServerLimit {self.workers + 2}", f"ThreadLimit {THREADS_PER_CHILD}", f"ThreadsPerChild {THREADS_PER_CHILD}",
                    f"MaxRequestWorkers {THREADS_PER_CHILD * (self.workers + 2)}", "MinSpareThreads 1",
                    f"MaxSpareThreads {THREADS_PER_CHILD * (self.workers + 2)}"]
        if self.log:
            # %q would be empty on an internal redirect; the target as the client sent it
            fields = " ".join("%s=<%%{PRIVACY_%s}e>" % (v, v.upper()) for v in self.VARIABLES)
            out.append(f'LogFormat "target=<%U%q> {fields}" privacy')
            out.append("CustomLog @dir@/var/access.log privacy")
        if self.tls:
            out += ["SSLSessionCache none", "Protocols h2 http/1.1"]
        out += ['<Directory "/">', "    Require all granted", "    AllowOverride None", "    Options FollowSymLinks",
                "</Directory>"]
        out += [line for k, v in self.main.items() for line in directive("httpd", k, v)]
        out += self.store_lines("httpd") + [self.raw["httpd_main"]]
        blocks = [("www.example.test", self.locs, self.server, self.raw["httpd"])]
        blocks += [(v.name, v.locs, v.directives, "") for v in self.vhosts]
        for name, locs, directives, raw in blocks:
            out += ["<VirtualHost 127.0.0.1:@port@>", f"ServerName {name}", "DocumentRoot @docroot@",
                    "ProxyPreserveHost On"]
            if self.tls:
                out += ["SSLEngine On", "SSLCertificateFile @cert@"]
            out += [raw, *self._block("httpd", locs, directives), "</VirtualHost>"]
        return "\n".join(line for line in out if line) + "\n"

    def fingerprint(self, server):
        """Two sites of one fingerprint can share a running server."""
        return "\0".join([self.render(server), self.policy_text(), repr(self.keys), repr(sorted(self.files.items()))])
