"""What people use instead: configurations that do the gate's job as far as they can, and what each of them leaves out.

Those that can verify our own cookie get it and the same record in Redis; those that cannot get a plain one of the same
name, which anybody can write.
"""
import json

from rig import BUILD, HTTPD_MODULES, Peer, bare, gate  # noqa: F401

MODULES = "/usr/lib/nginx/modules"
PLAIN = "__Host-privacy=preferences.statistics"


def purpose_hash(name):
    """FNV-1a 32, folded: what a token's body calls a purpose."""
    h = 2166136261
    for byte in name.encode():
        h = (h ^ byte) * 16777619 & 0xffffffff
    return (h >> 16 ^ h) & 0xffff


def choices(policy):
    """Purposes that are told to applications: (name, denied by GPC)."""
    return [(name, p.get("gpc") == "deny") for name, p in policy["purposes"].items() if p["basis"] == "consent"]


def rules(policy):
    """{cookie: purpose} of the exact names; the prefixes by themselves."""
    exact, prefix = {}, {}
    for purpose, cookies in policy["cookies"].items():
        for cookie in cookies:
            name = cookie if isinstance(cookie, str) else cookie["name"]
            if name.endswith("*"):
                prefix[name[:-1]] = purpose
            else:
                exact[name] = purpose
    return exact, prefix


# ---- Lua, for nginx and for httpd: what both share

def lua_tables(policy, secret):
    exact, prefix = rules(policy)
    lines = ["local purposes = {" + ", ".join(f"{{'{n}', {str(g).lower()}}}" for n, g in choices(policy)) + "}",
             "local exact = {" + ", ".join(f"['{k}'] = '{v}'" for k, v in exact.items()) + "}",
             "local prefix = {" + ", ".join(f"['{k}'] = '{v}'" for k, v in prefix.items()) + "}",
             f"local scope, secret = '{policy['policy']['id']}\\n__Host-privacy\\n', '{secret}'"]
    return "\n".join(lines) + "\n"


LUA_CORE = r"""
local function rule_of(name)
    local purpose = exact[name]
    if purpose then return purpose end
    local longest = 0
    for start, to in pairs(prefix) do
        if #start > longest and name:sub(1, #start) == start then purpose, longest = to, #start end
    end
    return purpose
end

local function words(text)
    local out = {}
    if text then for word in text:gmatch("[^ ,]+") do out[word] = true end end
    return out
end

-- What is allowed, and what Privacy-Consent says.
local function decide(granted, refused, gpc)
    local allowed, said = {necessary = true, security = true}, {}
    granted, refused = words(granted), words(refused)
    for i, purpose in ipairs(purposes) do
        local name = purpose[1]
        if refused[name] then said[i] = name .. "=?0;r=refused"
        elseif gpc and purpose[2] then said[i] = name .. "=?0;r=gpc"
        elseif granted[name] then allowed[name] = true; said[i] = name
        else said[i] = name .. "=?0;r=none" end
    end
    return allowed, table.concat(said, ", ")
end

local function edit(cookie, allowed)
    local kept = {}
    for piece in cookie:gmatch("[^;]+") do
        local name = piece:match("^%s*([^=]-)%s*=")
        if name and name ~= "__Host-privacy" and allowed[rule_of(name) or ""] then kept[#kept + 1] = piece:match("^%s*(.-)%s*$") end
    end
    return table.concat(kept, "; ")
end

local function parts(cookie)
    local token = cookie:match("__Host%-privacy=([^;]+)")
    if not token then return end
    local head, id, mac = token:match("^(1%.[^.]+%.([^.]+)%.[^.]+)%.([^.]+)$")
    return head, id, mac
end
"""

NGINX_LUA = r"""
local ffi = require "ffi"
local redis = require "nginx.redis"
ffi.cdef[[
unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n, unsigned char *out, unsigned int *len);
const void *EVP_sha256(void);
]]
local sha256, out, len = ffi.C.EVP_sha256(), ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
secret = ngx.decode_base64((secret:gsub("-", "+"):gsub("_", "/")) .. "=")

local function verified(head, mac)
    local text = scope .. head
    ffi.C.HMAC(sha256, secret, #secret, text, #text, out, len)
    local want = ngx.encode_base64(ffi.string(out, 16), true):gsub("+", "-"):gsub("/", "_")
    return want == mac
end

local function record(id)
    local red = redis:new()
    red:set_timeout(2000)
    if not red:connect("127.0.0.1", @redis@) then return end
    if red:get_reused_times() == 0 then red:auth("privacy", @password@) end
    local got = red:hgetall("privacy:consent:{" .. id .. "}")
    red:set_keepalive(60000, 64)
    if not got then return end
    local fields = {}
    for i = 1, #got, 2 do fields[got[i]] = got[i + 1] end
    return fields.granted or "", fields.refused or ""
end

local function known(id, shared)
    if not shared then return record(id) end
    local kept = shared:get(id)
    if kept then return kept:match("^(.-)|(.*)$") end
    local granted, refused = record(id)
    if granted then shared:set(id, granted .. "|" .. refused, 60) end
    return granted, refused
end

local M = {}
function M.look(shared)
    local cookie = ngx.var.http_cookie or ""
    local head, id, mac = parts(cookie)
    local granted, refused
    if head and verified(head, mac) then granted, refused = known(id, shared) end
    local allowed, said = decide(granted, refused, ngx.var.http_sec_gpc == "1")
    return allowed, said, edit(cookie, allowed)
end
function M.request(shared)
    local allowed, said, kept = M.look(shared)
    ngx.ctx.allowed = allowed
    ngx.req.set_header("Cookie", kept)
    ngx.req.set_header("Privacy-Consent", said)
end
function M.response()
    local set = ngx.header["Set-Cookie"]
    if not set then return end
    if type(set) == "string" then set = {set} end
    local kept = {}
    for _, value in ipairs(set) do
        local purpose = rule_of(value:match("^([^=;]*)"))
        if purpose and ngx.ctx.allowed[purpose] then kept[#kept + 1] = value end
    end
    ngx.header["Set-Cookie"] = kept
end
return M
"""

HTTPD_LUA = r"""
local redis = require "redis"
local hmac = require "openssl.hmac"
local client

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local function decode(text)
    local bits, have, out = 0, 0, {}
    for c in text:gmatch(".") do
        bits = (bits << 6 | alphabet:find(c, 1, true) - 1) & 0xffff
        have = have + 6
        if have >= 8 then have = have - 8; out[#out + 1] = string.char(bits >> have & 255) end
    end
    return table.concat(out)
end
secret = decode(secret)

local function verified(head, mac)
    return hmac.new(secret, "sha256"):final(scope .. head):sub(1, 16) == decode(mac)
end

local function record(id)
    if not client then
        client = redis.connect("127.0.0.1", @redis@)
        client:raw_cmd("AUTH privacy " .. @password@ .. "\r\n")
    end
    local fields = client:hgetall("privacy:consent:{" .. id .. "}")
    return fields.granted, fields.refused
end

function handle(r)
    local cookie = r.headers_in["Cookie"] or ""
    local head, id, mac = parts(cookie)
    local granted, refused
    if head and verified(head, mac) then granted, refused = record(id) end
    local allowed, said = decide(granted, refused, r.headers_in["Sec-GPC"] == "1")
    r.headers_in["Cookie"] = edit(cookie, allowed)
    r.headers_in["Privacy-Consent"] = said
    return apache2.DECLINED
end
"""

NJS = r"""
import crypto from 'crypto';
const purposes = @purposes@;      // [name, denied by GPC, hash]
const exact = @exact@, prefix = @prefix@, scope = @scope@;
const secret = Buffer.from(@secret@, 'base64url');

function rule(name) {
    if (exact[name]) return exact[name];
    let longest = '', found;
    for (const start in prefix) {
        if (start.length > longest.length && name.startsWith(start)) { longest = start; found = prefix[start]; }
    }
    return found;
}
// The cookie's own body: version 4, flags, signals, seq, time 7, ages 6, then granted and refused hashes.
function body(text) {
    const b = Buffer.from(text, 'base64url');
    let at = 6;
    while (b[at] > 127) at++;
    at += 1 + 7 + 6;
    const lists = [];
    for (let k = 0; k < 2; k++) {
        const list = [];
        for (let n = b[at++]; n > 0; n--, at += 2) list.push(b.readUInt16BE(at));
        lists.push(list);
    }
    return lists;
}
function look(r) {
    const cookie = r.headersIn.Cookie || '';
    const found = cookie.match(/__Host-privacy=((1\.[^.]+\.[^.]*\.([^.]+))\.([^;]+))/);
    let lists = [[], []];
    if (found) {
        const mac = crypto.createHmac('sha256', secret).update(scope + found[2]).digest();
        if (mac.slice(0, 16).toString('base64url') === found[4]) lists = body(found[3]);
    }
    const gpc = r.headersIn['Sec-GPC'] === '1', allowed = {necessary: true, security: true}, said = [];
    purposes.forEach(p => {
        if (lists[1].includes(p[2])) said.push(p[0] + '=?0;r=refused');
        else if (gpc && p[1]) said.push(p[0] + '=?0;r=gpc');
        else if (lists[0].includes(p[2])) { allowed[p[0]] = true; said.push(p[0]); }
        else said.push(p[0] + '=?0;r=none');
    });
    const kept = cookie.split('; ').filter(c => {
        const name = c.split('=')[0];
        return name !== '__Host-privacy' && allowed[rule(name)];
    });
    return [said.join(', '), kept.join('; '), allowed];
}
function said(r) { const all = look(r); r.variables.bench_kept = all[1]; return all[0]; }
function response(r) {
    const set = r.headersOut['Set-Cookie'];
    if (!set || set.length === 0) return;
    const allowed = look(r)[2];
    r.headersOut['Set-Cookie'] = set.filter(c => allowed[rule(c.split('=')[0])]);
}
export default {said, response};
"""


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nginx_peers(place):
    """Those of nginx, by name."""
    secret = place.keys.split("\n")[0].split()[2]
    password = quoted(place.redis.password_file.read_text().strip())
    lua = lua_tables(place.policy, secret) + LUA_CORE + NGINX_LUA.replace("@redis@", str(place.redis.port)).replace("@password@", password)
    (place.dir / "consent_nginx.lua").write_text(lua)
    exact, prefix = rules(place.policy)
    js = NJS
    for name, value in (("purposes", [[n, g, purpose_hash(n)] for n, g in choices(place.policy)]), ("exact", exact),
                        ("prefix", prefix), ("scope", f"{place.policy['policy']['id']}\n__Host-privacy\n"), ("secret", secret)):
        js = js.replace(f"@{name}@", json.dumps(value))
    (place.dir / "consent.js").write_text(js)
    lua_top = f"load_module {MODULES}/ndk_http_module.so;\nload_module {MODULES}/ngx_http_lua_module.so;"
    lua_http = (f"lua_package_path '{place.dir}/?.lua;/usr/share/lua/5.1/?.lua;;';\n"
                "init_by_lua_block { consent = require 'consent_nginx' }\n")
    said = ", ".join
    maps = ['map $http_cookie $own_gone { "~^(.*?)(?:; )?__Host-privacy=[^;]*(.*)$" "$1$2"; default $http_cookie; }',
            'map $http_cookie $marketing { "~__Host-privacy=[^;]*marketing" 1; default 0; }',
            'map "$marketing:$own_gone" $kept { "~^0:(.*?)(?:; )?_(?:fbp|fbc|gcl_[^=]*)=[^;]*(.*)$" "$1$2"; "~^[01]:(.*)$" "$1"; }']
    for i, (name, gpc) in enumerate(choices(place.policy)):
        reason = '"gpc"' if gpc else '"none"'
        maps.append(f'map $http_sec_gpc $r{i} {{ 1 {reason}; default "none"; }}')
        maps.append(f'map $http_cookie $p{i} {{ "~__Host-privacy=[^;]*\\b{name}\\b" "{name}"; default "{name}=?0;r=$r{i}"; }}')
    consent = said(f"$p{i}" for i in range(len(choices(place.policy))))
    return [
        bare("nginx"), gate("nginx"),
        Peer("nginx", "map", "\n".join(maps), top="pcre_jit on;", location=f'set $forward $kept; set $said "{consent}";'
             " proxy_set_header Cookie $forward; proxy_set_header Privacy-Consent $said;",
             leaves_out="MAC and record (anybody can write the cookie), Set-Cookie, what was refused"),
        Peer("nginx", "njs", f"js_path {place.dir};\njs_import consent.js;\njs_set $said consent.said;\n",
             in_server="set $bench_kept '';",
             location="set $consent $said; proxy_set_header Cookie $bench_kept; proxy_set_header Privacy-Consent $consent;"
             " js_header_filter consent.response;", top=f"load_module {MODULES}/ngx_http_js_module.so;",
             leaves_out="the record: what was withdrawn elsewhere still counts"),
        Peer("nginx", "lua, shared dict", lua_http + "lua_shared_dict seen 16m;\n", top=lua_top,
             location="access_by_lua_block { consent.request(ngx.shared.seen) } header_filter_by_lua_block { consent.response() }",
             leaves_out="news of a withdrawal: what is cached counts for a minute"),
        Peer("nginx", "lua, Redis each", lua_http, top=lua_top,
             location="access_by_lua_block { consent.request() } header_filter_by_lua_block { consent.response() }",
             leaves_out="proofs in the record"),
        Peer("nginx", "auth_request to lua", lua_http, top=lua_top,
             in_server="location = /auth { internal; content_by_lua_block { local _, said, kept = consent.look(); "
             "ngx.header['X-Kept'] = kept; ngx.header['X-Said'] = said; ngx.exit(204) } }",
             location="auth_request /auth; auth_request_set $kept $sent_http_x_kept; auth_request_set $said $sent_http_x_said;"
             " proxy_set_header Cookie $kept; proxy_set_header Privacy-Consent $said;",
             leaves_out="Set-Cookie, proofs in the record"),
    ]


def httpd_peers(place):
    secret = place.keys.split("\n")[0].split()[2]
    password = quoted(place.redis.password_file.read_text().strip())
    lua = lua_tables(place.policy, secret) + LUA_CORE + HTTPD_LUA.replace("@redis@", str(place.redis.port)).replace("@password@", password)
    (place.dir / "consent_httpd.lua").write_text(lua)
    lines = ['SetEnvIf Cookie "__Host-privacy=[^;]*marketing" allow_marketing',
             'SetEnvIf Sec-GPC "^1$" gpc',
             'RequestHeader edit* Cookie "(?:^|; )__Host-privacy=[^;]*" ""',
             'RequestHeader edit* Cookie "(?:^|; )_(?:fbp|fbc|gcl_[^=]*)=[^;]*" "" env=!allow_marketing',
             'Header edit* Set-Cookie "^_(?:fbp|fbc|gcl_[^=]*)=.*" "" env=!allow_marketing']
    for name, gpc in choices(place.policy):
        env = name.replace("-", "_")
        lines.append(f'SetEnvIf Cookie "__Host-privacy=[^;]*\\b{name}\\b" p_{env}={name}')
        lines.append(f'SetEnvIf p_{env} "^$" p_{env}={name}=?0;r=none')
        if gpc:
            lines.append(f'SetEnvIfExpr "reqenv(\'gpc\') == \'1\' && reqenv(\'p_{env}\') =~ /r=none/" p_{env}={name}=?0;r=gpc')
    said = ", ".join(f"%{{p_{n.replace('-', '_')}}}e" for n, _ in choices(place.policy))
    lines.append(f'RequestHeader set Privacy-Consent "{said}"')
    return [
        bare("httpd"), gate("httpd"),
        Peer("httpd", "SetEnvIf and Header edit", in_server="\n".join(lines),
             modules=(f"setenvif_module {HTTPD_MODULES}/mod_setenvif.so",),
             leaves_out="MAC and record (anybody can write the cookie), what was refused"),
        Peer("httpd", "mod_lua, Redis each", f'LuaPackagePath "/usr/share/lua/5.3/?.lua"\nLuaPackageCPath '
             '"/usr/lib/x86_64-linux-gnu/lua/5.3/?.so"\nLuaScope thread\n',
             in_server=f"LuaHookFixups {place.dir}/consent_httpd.lua handle",
             modules=(f"lua_module {HTTPD_MODULES}/mod_lua.so",), leaves_out="Set-Cookie, proofs in the record"),
    ]


def plain(peer):
    """Reads a cookie that anybody can write."""
    return peer.name in ("map", "SetEnvIf and Header edit")
