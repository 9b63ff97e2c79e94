# make deps, check, check-asan, check-debian13, demo, install; included by the Makefile.

.PHONY: bench bench-quick bench-micro bench-build bench-deps instructions instructions-renew deps check check-asan check-debian13 demo install e2e guards fuzz-build mutants faults faults-short scale scale-build

# a parallel make builds faster, but two of these at once would share one build directory
JOBS ?= 2
ASAN_FLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer
BUILD_ABS = $(abspath $(BUILD))

deps:
	@bash tests/deps.sh

# Each part counts its own tests; the last line sums them up and the exit status is true to it.
check: deps
	@PRV_BUILD="$(BUILD_ABS)" MAKE="$(MAKE)" $(PYTHON) tests/check.py --jobs $(JOBS)

check-asan: deps
	@PRV_BUILD="$(BUILD_ABS)/asan" MAKE="$(MAKE)" PRV_SANITIZE="$(ASAN_FLAGS)" \
		PRV_ASAN="$$($(CC) -print-file-name=libasan.so)" $(PYTHON) tests/check.py --jobs $(JOBS) --asan

# The tests of the store on Debian 13: hiredis 1.x and TLS, Redis 8, Valkey.
check-debian13:
	@PRV_BUILD="$(BUILD_ABS)" JOBS=$(JOBS) bash tests/debian13.sh

# Parts of `check` alone, on what is built: `make e2e ARGS="-k age"`.
e2e: all
	PRV_BUILD="$(BUILD_ABS)" $(PYTHON) -m pytest -c tests/e2e/pytest.ini tests/e2e $(ARGS)
guards:
	PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/check.py --only guards

instructions: all
	PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/bench/guard.py
instructions-renew: all
	PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/bench/guard.py --renew

# The gate beside what people would use instead (tests/bench/README.md): under 15 and under 3 minutes.
$(BUILD)/bench/micro: tests/bench/micro/micro.c $(wildcard tests/unit/*.h) $(BUILD)/libprivacy.a
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -Icore $< $(BUILD)/libprivacy.a $(CORE_LIBS) -lpthread -o $@
bench-build: $(BUILD)/bench/micro
bench-deps:
	@bash tests/deps.sh bench/packages.txt
bench bench-quick bench-micro: bench-deps
	@$(MAKE) --no-print-directory -j$(JOBS) all bench-build scale-build
	@PRV_BUILD="$(BUILD_ABS)" $(PYTHON) $(if $(filter bench-micro,$@),tests/bench/micro/micro.py,tests/bench/bench.py $(if $(filter bench-quick,$@),--quick))

# Modules that can be wrong on purpose (core/mutant.h), beside those that are shipped.
mutants:
	@$(MAKE) --no-print-directory BUILD="$(BUILD_ABS)/mutants" MUTANTS=1 CFLAGS=-O1 nginx apache

# Ten thousand faults, about half an hour: make faults ARGS="--faults 1000 --seed 7".
faults: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/faults/full.py $(ARGS)
faults-short: all mutants
	@PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/faults/short.py $(ARGS)

# What ten million records cost: make scale N=1000000 (see tests/scale/README.md).
SCALE_BIN := $(patsubst tests/scale/%.c,$(BUILD)/scale/%,$(filter-out tests/scale/visitors.c,$(wildcard tests/scale/*.c)))
$(BUILD)/scale/%: tests/scale/%.c tests/scale/visitors.c tests/scale/visitors.h $(BUILD)/libprivacy.a
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -Icore $< tests/scale/visitors.c $(BUILD)/libprivacy.a $(CORE_LIBS) -o $@
scale-build: $(SCALE_BIN)
scale: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all scale-build
	@PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/scale/scale.py $(if $(N),--records $(N)) $(ARGS)

# The build runs in a second make: before `deps`, the compilers' paths could not be asked for.
demo: deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@PRV_BUILD="$(BUILD_ABS)" $(PYTHON) tests/demo/demo.py $(if $(ONCE),--once)

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
NGINX_MODULES ?= $(PREFIX)/lib/nginx/modules
HTTPD_MODULES ?= $(or $(shell $(APXS) -q LIBEXECDIR 2>/dev/null),$(PREFIX)/lib/apache2/modules)
SHARE := $(DESTDIR)$(PREFIX)/share/privacy-gate

# An operator's own policy in /etc/privacy-gate is never overwritten.
install: all
	install -d "$(DESTDIR)$(NGINX_MODULES)" "$(DESTDIR)$(HTTPD_MODULES)" "$(DESTDIR)$(PREFIX)/bin" \
		"$(SHARE)/snippets" "$(DESTDIR)$(SYSCONFDIR)/privacy-gate"
	install -m 644 $(BUILD)/ngx_http_privacy_module.so "$(DESTDIR)$(NGINX_MODULES)/"
	install -m 644 $(BUILD)/mod_privacy.so "$(DESTDIR)$(HTTPD_MODULES)/"
	install -m 755 $(BUILD)/privacyctl "$(DESTDIR)$(PREFIX)/bin/"
	install -m 644 $(filter-out config/redis.acl,$(wildcard config/*.json config/*.conf config/README.md config/REDIS.md config/accounts.md config/SIZING.md)) "$(SHARE)/"
	install -m 640 config/redis.acl "$(SHARE)/"
	install -m 644 $(wildcard config/snippets/*.conf) "$(SHARE)/snippets/"
	@[ -e "$(DESTDIR)$(SYSCONFDIR)/privacy-gate/policy.json" ] || \
		install -m 644 config/policy.json "$(DESTDIR)$(SYSCONFDIR)/privacy-gate/policy.json"
