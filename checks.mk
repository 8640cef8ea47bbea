# Checks that take longer, need more, or are run seldom; `make check-all` runs most. Included by the Makefile.

.PHONY: library roots sanitize sanitize-all tsan msan asan-python valgrind streams packages digests s390x windows macos arm wasm clang fuzz peers ray browser web-check check-builds ray-and-browsers gpu-check gpu-train fuzz-python fuzz-container fuzz-pictures reproducible lock sbom audit

# libjahp, static and shared, as it is installed; the example in C against both, by CMake and pkg-config, and the guide's program. What
# else is tested of it is among the tests of Python (tests/library) and of C++; under a minute behind `make cpp-test`.
library: $(VENV)/.test
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset test
	$(BIN)/ninja -C build/test jahp_shared jahp_static jahp_outcomes
	$(BIN)/python -m pytest -q tests/library/test_packaging.py

# The roots of GDN, of all 31-bit norms, with every instruction set: half a minute.
roots: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset test
	$(BIN)/ninja -C build/test all_roots
	build/test/csrc/tests/all_roots

# A thousand numbered streams with 1 to 8 threads.
streams: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset test
	$(BIN)/ninja -C build/test stream_digest
	build/test/csrc/tests/stream_digest --streams 1000 --threads 1,2,3,4,5,6,7,8 --golden csrc/tests/stream_digest.golden

# The packages in environments of their own.
packages: $(VENV)/.test
	$(CHECK) tests/checks/check_packages.py

# The C++ tests under the address and undefined-behaviour sanitizers, the emulator's in part and in full, and under that of threads.
sanitize sanitize-all tsan: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --workflow --preset $@

# The same under the memory sanitizer, which clang alone has. Templates of libstdc++ are compiled along, so that it sees inside.
msan: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --workflow --preset msan

# The extension under the address and undefined-behaviour sanitizers, in an environment of its own that reads what is in .venv.
ASAN := .venv-asan
ASAN_TESTS := tests/codec/test_codec.py tests/codec/test_container.py tests/codec/test_damage.py tests/entropy/test_range_coder.py tests/entropy/test_integer_net.py \
  tests/codec/test_transforms_cpu.py tests/codec/test_native_transforms.py tests/codec/test_hostile_models.py tests/codec/test_golden.py
asan-python: $(ASAN)/.built
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:malloc_context_size=5 $(ASAN)/bin/python -m pytest -q -m "not slow and not gpu" $(ASAN_TESTS)

# Whole runs of `jahp` under Valgrind; only what passes through the extension counts.
valgrind: $(VENV)/.test
	$(CHECK) tests/checks/check_valgrind.py

# Two tables. What a thousand pictures, their files and their pixels are by every way of this machine; and what the same numbered streams give, built in eleven ways, four of them for other architectures or systems under an emulator. A way
# whose compiler is not installed is named as not run.
digests: $(VENV)/.test
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python csrc/tests/digest_table.py --streams 1000 --emulated 100
	$(CHECK) tests/checks/picture_digests.py

# The C++ tests of the entropy path, and libjahp's that are short, on a big-endian machine, under an emulator: needs g++-s390x-linux-gnu and qemu-user.
S390X_TESTS := annealing cdf context_decoder context_input crc32c dot integer_net latent_decode range_coder range_decode requantise residual symbol_checksum \
  symbol_rows wavefront
s390x: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset s390x
	$(BIN)/ninja -C build/s390x $(addprefix test_,$(S390X_TESTS)) test_library fuzz_range_decoder
	for t in $(S390X_TESTS); do qemu-s390x -cpu max build/s390x/csrc/tests/test_$$t || exit 1; done
	for t in sha256 json four_threads kept; do qemu-s390x -cpu max build/s390x/csrc/tests/test_library $$t || exit 1; done
	qemu-s390x -cpu max build/s390x/csrc/fuzz/fuzz_range_decoder --replay csrc/fuzz/corpus/range_decoder

# libjahp for Windows under Wine: the C++ tests, numbered streams, and what the tests of libjahp ask of any program; the guide's program
# against the DLL. Needs g++-mingw-w64-x86-64-posix, wine and wine64.
windows: $(VENV)/.test
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --workflow --preset windows
	$(BIN)/python -m pytest -q tests/library/test_damage.py tests/library/test_packaging.py -k windows

# The same for macOS, on Arm and x86-64, by zig (`pip install ziglang`), as far as linking goes: nothing here runs it.
macos: $(VENV)/.base
	zig=$$(PYTHONPATH=csrc/tests $(BIN)/python -c "import digest_table; print(digest_table.zig() or '')"); \
	test -n "$$zig" || { echo "No zig: pip install ziglang."; exit 1; }; \
	for cpu in aarch64 x86_64; do export PATH=$(CURDIR)/$(BIN):$$PATH JAHP_ZIG=$$zig JAHP_MACOS_CPU=$$cpu; \
	  cmake --preset macos -B build/macos-$$cpu && ninja -C build/macos-$$cpu jahp_shared jahp_static stream_digest test_library || exit 1; done

# The NEON kernels under an emulator, and the core built by clang, on numbered random streams. They need the packages
# g++-aarch64-linux-gnu and qemu-user, and clang.
STREAMS ?= 40
DIGEST := csrc/tests/stream_digest --streams $(STREAMS) --golden csrc/tests/stream_digest.golden
ARM_TESTS := test_annealing test_dot test_gdn_adjoint test_residual test_requantise test_finish test_gdn test_matmul_i16 test_overlap test_winograd
arm: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset aarch64
	$(BIN)/ninja -C build/aarch64 stream_digest $(ARM_TESTS) test_transform_net
	for t in $(ARM_TESTS); do qemu-aarch64 -L /usr/aarch64-linux-gnu build/aarch64/csrc/tests/$$t || exit 1; done
	for t in chains published digests norms; do qemu-aarch64 -L /usr/aarch64-linux-gnu build/aarch64/csrc/tests/test_transform_net $$t || exit 1; done
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/aarch64/$(DIGEST) --threads 1,2

# The same of the SIMD128 kernels in Node.js, and of the build with threads; needs the packages emscripten, clang-19 and lld-19.
WASM_TESTS := $(ARM_TESTS) test_context_decoder test_context_input test_cdf test_crc32c test_integer_net test_isa test_latent_decode test_peak test_range_coder \
  test_range_decode test_scaled test_step_search test_symbol_checksum test_symbol_rows test_transform_net test_wavefront
WASM_THREAD_TESTS := test_context_decoder test_latent_decode test_thread_team
NODE := node --no-experimental-fetch
wasm: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset wasm
	$(BIN)/ninja -C build/wasm stream_digest picture_digest $(WASM_TESTS)
	for t in $(WASM_TESTS); do $(NODE) build/wasm/csrc/tests/$$t.js || exit 1; done
	$(NODE) build/wasm/csrc/tests/stream_digest.js --streams $(STREAMS) --golden csrc/tests/stream_digest.golden --threads 1
	$(NODE) build/wasm/csrc/tests/picture_digest.js --pictures 20 --golden csrc/tests/picture_digest.golden
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset wasm-threads
	$(BIN)/ninja -C build/wasm-threads stream_digest $(WASM_THREAD_TESTS)
	for t in $(WASM_THREAD_TESTS); do $(NODE) build/wasm-threads/csrc/tests/$$t.js || exit 1; done
	$(NODE) build/wasm-threads/csrc/tests/stream_digest.js --streams $(STREAMS) --golden csrc/tests/stream_digest.golden --threads 1,4

clang: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset clang
	$(BIN)/ninja -C build/clang stream_digest
	build/clang/$(DIGEST)

# Each fuzz target for SECONDS under libFuzzer with the address and undefined-behaviour sanitizers; needs clang and libclang-rt-dev.
# What it finds is left in build/fuzz, new inputs in build/fuzz/corpus.
SECONDS ?= 60
FUZZ := range_decoder context_decoder whole_decoder entropy_model encoder transform_net library
fuzz: $(VENV)/.base
	PATH=$(CURDIR)/$(BIN):$$PATH cmake --preset fuzz
	$(BIN)/ninja -C build/fuzz $(addprefix fuzz_,$(FUZZ))
	for t in $(FUZZ); do mkdir -p build/fuzz/corpus/$$t; most=4000; seeds=csrc/fuzz/corpus/$$t; \
	  if [ $$t = library ]; then most=50000; seeds=tests/golden; fi; \
	  build/fuzz/csrc/fuzz/fuzz_$$t -dict=csrc/fuzz/numbers.dict -max_len=$$most -max_total_time=$(SECONDS) -print_final_stats=1 -timeout=60 \
	    -artifact_prefix=build/fuzz/$$t- build/fuzz/corpus/$$t $$seeds || exit 1; done

peers: $(VENV)/.test
	$(BIN)/python benchmarks/peers/peers.py --make-env

# Ray on two nodes of this machine, with workers killed, in an environment that has Ray (530 MB) beside what is in .venv; under a minute.
RAY := .venv-ray
ray: $(RAY)/.made
	$(RAY)/bin/python -m pytest -q tests/integrations/test_ray.py

# The page of examples/serve.py in headless Chromium, which must be installed; under a minute.
browser: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/integrations/test_page.py

# The package for browsers in Node.js and, with its page, in headless Chromium.
TSC := build/types/node_modules/.bin/tsc
web-check: $(VENV)/.test web
	$(BIN)/ninja -C build/wasm-threads stream_digest_page
	test -x $(TSC) || npm install --silent --no-save --prefix build/types typescript@7.0.2
	$(TSC) --noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext --lib es2022,dom --types "" tests/web/types.ts
	JAHP_STREAMS=$(STREAMS) $(BIN)/python -m pytest -q tests/web
	$(BIN)/python -m pytest -q tests/library/test_damage.py -k wasm

# What `.ci/run` leaves out, each in its short form: under an hour on two threads.
check-builds: $(VENV)/.test
	$(PAIRS) sanitize arm wasm clang
	$(MAKE) ray-and-browsers

# Modules for browsers are built before, for minutes on all cores: a cluster that starts meanwhile gives up.
ray-and-browsers: $(VENV)/.test web
	$(PAIRS) ray browser web-check

# On a machine with a GPU: the tests that need one, and timings, into gpu-check.json and gpu-check.md; under six minutes.
gpu-check: $(VENV)/.test
	$(BIN)/python benchmarks/gpu/gpu_check.py

# There as well, and on a machine that has no network: build, tests, what is fastest, and MINUTES in all with training for what is left. It needs
# no .venv but a python3 that has torch. PHOTOS: folders, or archives of benchmarks/gpu/pack_photos.py.
MINUTES ?= 10
OUT ?= gpu-train
gpu-train:
	$(PYTHON) benchmarks/gpu/gpu_train.py --photos $(PHOTOS) --out $(OUT) --minutes $(MINUTES)

# Random bytes, fields, models and configs into everything that Python takes in: minutes, others each time.
fuzz-python: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/robustness/test_fuzz.py --hypothesis-profile=long

# Two million mutated files into the parser of the container, against the decoder that was written from the page alone.
fuzz-container: $(VENV)/.test
	$(CHECK) tests/checks/fuzz_container.py

# Mutated files of every format that Pillow opens, into what reads pictures, and through `jahp eval`.
fuzz-pictures: $(VENV)/.test
	$(CHECK) tests/checks/fuzz_pictures.py
	JAHP_MUTANTS=100 $(BIN)/python -m pytest -q tests/robustness/test_mutated_pictures.py \
	  tests/integrations/test_serve.py

# The same wheel twice, from two folders.
reproducible: $(VENV)/.base
	$(CHECK) tests/checks/check_reproducible.py

# What the package is made of and runs on: hashes of its pins, a list of them for other tools, and what is known against them (which
# asks the package index, and fails if that cannot say). Hashes are kept of what goes into the wheel or runs beside it, and of the test runner. The rest of
# requirements-dev.txt goes with the torch wheel that TORCH names, or differs from machine to machine, and nothing of it is shipped.
SUPPLY := .venv-supply
COMPILE := $(SUPPLY)/bin/pip-compile -q --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-annotate --strip-extras --no-header
lock: $(SUPPLY)/.made
	$(COMPILE) -o requirements.lock requirements.txt
	grep -E '^(pytest|pytest-benchmark|pytest-xdist|hypothesis)==' requirements-dev.txt | $(COMPILE) -o requirements-dev.lock -

sbom: $(SUPPLY)/.made
	mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type library --output-reproducible --of JSON \
	  -o dist/jahp_fast.cdx.json

audit: $(SUPPLY)/.made
	$(SUPPLY)/bin/pip-audit --disable-pip --require-hashes --strict -r requirements.lock -r requirements-dev.lock

$(SUPPLY)/.made: Makefile
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install -q pip-tools==7.6.2 cyclonedx-bom==7.5.0 pip-audit==2.10.1
	touch $@

# Its own build of the package comes before that of .venv.
$(ASAN)/.built: $(VENV)/.test $(SOURCES)
	$(PYTHON) -m venv $(ASAN)
	$(BIN)/python -c "import sys; print(*(p for p in sys.path if p.endswith('site-packages')), sep='\n')" > \
	  $$($(ASAN)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/beside.pth
	PATH=$(CURDIR)/$(BIN):$$PATH $(ASAN)/bin/pip install -q --no-build-isolation --no-deps -Cbuild-dir=build/asan-python -Ccmake.define.JAHP_CUDA=OFF \
	  -Ccmake.define.JAHP_WERROR=ON "-Ccmake.define.CMAKE_CXX_FLAGS=-g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" -e .
	touch $@

$(RAY)/.made: $(VENV)/.test
	$(PYTHON) -m venv $(RAY)
	$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" > \
	  $$($(RAY)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/beside.pth
	$(RAY)/bin/pip install -q "ray[data]==2.60.0"
	touch $@
