# The two commands. Both do all the set-up on a bare Debian or Ubuntu machine that has Rust.
#
#   make demo            real traffic, explained, until Ctrl-C
#   make demo FOR=60s    the same, for a minute
#   make test            format, lints, every test, the demo
.PHONY: demo test build bench

demo:
	@FOR='$(FOR)' scripts/demo

test:
	@scripts/test

build:
	@scripts/setup demo
	@CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$${WHYFLOW_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whyflow}/target}" \
		cargo build --locked --release --bin whyflow

bench:
	@scripts/setup demo
	@CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$${WHYFLOW_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whyflow}/target}" \
		cargo bench --locked -p benches
