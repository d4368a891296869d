# demo: sign in with a browser.  test: everything.  stack: the product for tools that measure (tests/bin/stack.rs).
.PHONY: demo test stack bench fmt lint setup
SETUP = sh deploy/scripts/setup
FIRST = [ -e target/debug/demo ] || echo "compiling: some minutes, the first time"

demo:
	@$(SETUP)
	@$(FIRST)
	@cargo build -q --workspace --bins
	@exec cargo run -q --bin demo

test:
	@$(SETUP) tests
	@$(FIRST)
	@cargo build -q --workspace --bins
	@exec cargo test --workspace --no-fail-fast

stack:
	@cargo build -q --release -p key-service -p oidc-gateway
	@exec cargo run -q -p tests --bin stack

bench:
	@cargo build -q --release -p key-service -p oidc-gateway
	@exec cargo run -q --release -p tests --bin bench

fmt:
	@exec cargo fmt --all

lint:
	@cargo fmt --all --check
	@exec cargo clippy --workspace --all-targets -- -D warnings

setup:
	@$(SETUP) tests
