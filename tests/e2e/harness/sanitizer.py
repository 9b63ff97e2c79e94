"""Sanitizer reports of the servers: everything counts but what the servers themselves leave behind.

A leak is named by its call chain, from the allocation up to main, `?` for a function without a name. Only whole chains of
the server's own are forgiven, each for its reason; the process that read the configuration gets no pardon for ours.
"""
import os
import re

from .proc import ASAN

# (server, in children only, chain): the reason stands beside it
FORGIVEN = [
    # a worker's connection and event arrays live as long as the process; nothing frees them
    ("nginx", True, r"^ngx_alloc \? \? \? ngx_spawn_process "),
    # the pool of main()'s first, empty cycle
    ("nginx", False, r"^ngx_memalign ngx_create_pool main "),
    # PCRE's compile context, which nginx makes once and keeps
    ("nginx", False, r"pcre2_compile_context_create_8 ngx_regex_compile "),
    # a thread that was starting when its child ended
    ("httpd", True, r"^apr_allocator_create \? start_thread "),
    # a child ends by exit() and never destroys the pools it was forked with: what the parent made while it read the
    # configuration, httpd's own regular expressions and TLS contexts among it. The parent frees all this, and is held to it.
    ("httpd", True, r" (ap_process_config_tree|ap_read_config|ap_run_check_config|ap_fixup_virtual_hosts|"
                    r"ap_run_post_config|ap_thread_main_create) "),
]


def environment(directory):
    """Environment of a sanitised server, empty without PRV_ASAN."""
    if not ASAN:
        return {}
    log = f"log_path={directory}/var/sanitizer"
    return {"LD_PRELOAD": ASAN, "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
            # slow unwinding: the servers have no frame pointers, and chains must reach up to main
            "ASAN_OPTIONS": f"detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=40:exitcode=0:{log}",
            "LSAN_OPTIONS": "print_suppressions=0"}


def chain(block):
    names = []
    for line in re.findall(r"^\s*#\d+ .*$", block, re.M):
        match = re.search(r" in (\S+)", line)
        names.append(match.group(1) if match else "?")
    return " ".join(names[1:]) + " "  # the first is the interceptor


def own(report, server, child):
    """What remains of a report when the server's own leaks are taken out; empty if nothing does."""
    if "LeakSanitizer" not in report or re.search(r"ERROR: AddressSanitizer|runtime error", report):
        return report
    blocks = re.split(r"(?=^(?:Direct|Indirect) leak of )", report, flags=re.M)[1:]
    left = [block for block in blocks
            if not any(server == name and (child or not only_child) and re.search(pattern, " " + chain(block) if
                       pattern.startswith(" ") else chain(block)) for name, only_child, pattern in FORGIVEN)]
    return "".join(left)


def complaints(directory, server, pid):
    """Reports that stand in a server's directory, read once."""
    out = []
    for path in sorted((directory / "var").glob("sanitizer*")):
        child = path.suffix != f".{pid}"
        text = own(path.read_text(errors="replace"), server, child)
        os.unlink(path)
        if text.strip():
            out.append(f"sanitizer, {'a child' if child else 'the parent'} of {server}:\n{text}")
    return out
