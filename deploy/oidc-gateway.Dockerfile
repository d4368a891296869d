# The gateway: one program, no key, no state. Needs no shell, no writable root; runs as user 10001.
ARG BASE=gcr.io/distroless/cc-debian12
ARG RUST=rust:1.95-bookworm

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p oidc-gateway && cp target/release/oidc-gateway /oidc-gateway

FROM ${BASE}
COPY --from=build /oidc-gateway /usr/local/bin/oidc-gateway
USER 10001:10001
EXPOSE 8443 9464
ENTRYPOINT ["/usr/local/bin/oidc-gateway"]
CMD ["serve", "--config", "/etc/signet/gateway.toml"]
