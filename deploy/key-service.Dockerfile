# The key-service with SoftHSM's module. For another token give a base that holds its PKCS#11 module:
#   docker build -f deploy/key-service.Dockerfile --build-arg BASE=my-hsm-client:1 .
# Needs no shell and no writable root; runs as user 10001, keeps its token in /var/lib/signet.
ARG BASE=gcr.io/distroless/cc-debian12
ARG RUST=rust:1.95-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p key-service -p pki \
    && cp target/release/key-service target/release/pki /usr/local/bin/

# SoftHSM's module and what it is linked with, copied by path so that the base needs no package manager.
FROM ${DEBIAN} AS softhsm
RUN apt-get update \
    && apt-get install -y --no-install-recommends softhsm2 \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /out/usr/lib/softhsm /out/var/lib/signet \
    && cp /usr/lib/softhsm/libsofthsm2.so /out/usr/lib/softhsm/ \
    && ldd /usr/lib/softhsm/libsofthsm2.so | awk '$3 ~ /libcrypto|libsqlite|libstdc|libgcc/ {print $3}' \
       | while read -r library; do mkdir -p "/out$(dirname "$library")" && cp -L "$library" "/out$library"; done \
    && chown 10001:10001 /out/var/lib/signet

# Makes the token and the certificates of docker-compose.yml; no part of what serves.
FROM softhsm AS setup
COPY --from=build /usr/local/bin/pki /usr/local/bin/pki
COPY deploy/softhsm/make-token deploy/softhsm/compose-setup /deploy/
RUN mkdir -p /authority /gateway /var/lib/signet && chown 10001:10001 /authority /gateway /var/lib/signet
USER 10001:10001
CMD ["/deploy/compose-setup"]

FROM ${BASE}
COPY --from=softhsm /out/ /
COPY --from=build /usr/local/bin/key-service /usr/local/bin/key-service
ENV SOFTHSM2_CONF=/var/lib/signet/softhsm2.conf
USER 10001:10001
VOLUME /var/lib/signet
EXPOSE 8444 9465
ENTRYPOINT ["/usr/local/bin/key-service"]
CMD ["serve", "--config", "/etc/signet/key-service.toml"]
