# privacy-gate. `make demo` and `make check` set up what they need; see README.md.

SHELL := /bin/bash
.DEFAULT_GOAL := all

BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
APXS ?= apxs
PYTHON ?= /usr/bin/python3
NGINX_SRC ?= /usr/share/nginx/src
SANITIZE ?=
# MUTANTS=1, with a BUILD of its own: modules that can be wrong on purpose, for tests/faults. Never ship them.
MUTANTS ?=
ifneq ($(MUTANTS),)
override SANITIZE += -DPRV_MUTANTS
endif

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror
CFLAGS ?= -O2 -g
CORE_CFLAGS := -std=c17 -D_GNU_SOURCE -fPIC -fvisibility=hidden -fno-strict-aliasing $(WARN) $(CFLAGS) $(SANITIZE)
HIREDIS_A := $(shell $(CC) -print-file-name=libhiredis.a 2>/dev/null)
CORE_LIBS := $(HIREDIS_A) -ljansson -lssl -lcrypto

CORE_SRC := $(sort $(wildcard core/policy/*.c core/request/*.c core/state/*.c core/redis/*.c core/rights/*.c core/content/*.c))
CORE_HDR := $(wildcard core/*.h core/*/*.h)
CORE_OBJ := $(CORE_SRC:%.c=$(BUILD)/%.o)
CTL_SRC := $(sort $(wildcard core/privacyctl/*.c))
CTL_OBJ := $(CTL_SRC:%.c=$(BUILD)/%.o)

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_AUX := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)

-include tests/check.mk

.PHONY: all core nginx apache privacyctl clean unit unit-build

all: nginx apache privacyctl

core: $(BUILD)/libprivacy.a

$(BUILD)/core/%.o: core/%.c $(CORE_HDR)
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -c $< -o $@

$(BUILD)/libprivacy.a: $(CORE_OBJ)
	@rm -f $@
	ar rcs $@ $^

privacyctl: $(BUILD)/privacyctl
$(BUILD)/privacyctl: $(CTL_OBJ) $(BUILD)/libprivacy.a
	$(CC) $(SANITIZE) $^ $(CORE_LIBS) -o $@

# ---- unit tests: each tests/unit/test_*.c is one cmocka program
$(BUILD)/tests/%: tests/unit/%.c $(UNIT_AUX) $(wildcard tests/unit/*.h) $(BUILD)/libprivacy.a
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -Icore -DPRV_TESTS='"$(CURDIR)/tests"' $< $(UNIT_AUX) $(BUILD)/libprivacy.a $(CORE_LIBS) -lcmocka -lpthread -o $@

unit-build: $(UNIT_BIN)
unit: unit-build
	@set -e; for t in $(UNIT_BIN); do $$t; done

# ---- fuzz targets: clang, the core compiled again with its instrumentation
FUZZ_FLAGS := -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
$(BUILD)/fuzz/%: tests/fuzz/%.c $(CORE_SRC) $(CORE_HDR) $(wildcard tests/fuzz/*.h)
	@mkdir -p $(@D)
	$(CLANG) -std=c17 -D_GNU_SOURCE -g -O1 -Icore $(FUZZ_FLAGS) $< $(CORE_SRC) $(CORE_LIBS) -o $@
fuzz-build: $(FUZZ_BIN)

# ---- nginx: Debian's nginx-dev tree, or NGINX_SRC=<a full source tree>
nginx: $(BUILD)/ngx_http_privacy_module.so
$(BUILD)/ngx_http_privacy_module.so: $(CORE_SRC) $(CORE_HDR) $(wildcard ngx_module/*.c ngx_module/*.h ngx_module/config) ngx_module/build.sh
	PRV_SANITIZE="$(SANITIZE)" bash ngx_module/build.sh "$(NGINX_SRC)" "$(abspath $(BUILD))"

# ---- httpd
apache: $(BUILD)/mod_privacy.so
APACHE_SRC := $(sort $(wildcard apache_module/*.c))
APACHE_OBJ := $(APACHE_SRC:%.c=$(BUILD)/%.o)
APACHE_INC := $(shell $(APXS) -q INCLUDEDIR 2>/dev/null)
APR_CFLAGS := $(shell apr-1-config --cppflags --includes 2>/dev/null | sed 's/-I/-isystem /g')
$(BUILD)/apache_module/%.o: apache_module/%.c $(wildcard apache_module/*.h) core/privacy.h
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -isystem $(APACHE_INC) $(APR_CFLAGS) -c $< -o $@
$(BUILD)/mod_privacy.so: $(APACHE_OBJ) $(BUILD)/libprivacy.a
	$(CC) $(SANITIZE) -shared -Wl,--exclude-libs,ALL -Wl,-z,relro,-z,now $^ $(CORE_LIBS) -o $@

clean:
	rm -rf $(BUILD)
