# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# OpenSSL and SQLite are compiled along; the image has what they need (a C compiler, make, perl).
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin carnet \
    && cp target/dist/carnet /usr/local/bin/carnet

FROM debian:bookworm-slim
# The certificate authorities for fetching the keys of trusted issuers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/carnet --create-home carnet
COPY --from=build /usr/local/bin/carnet /usr/local/bin/carnet
COPY LICENSE LICENSE-APACHE LICENSE-MIT /usr/share/doc/carnet/

# CARNET_ISSUER has to be given: the public https URL that the proxy in front serves.
ENV CARNET_DATA_DIR=/var/lib/carnet \
    CARNET_SERVER__LISTEN=0.0.0.0:8080 \
    CARNET_LOG__FORMAT=json
USER carnet
WORKDIR /var/lib/carnet
VOLUME /var/lib/carnet
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["carnet", "healthcheck"]
ENTRYPOINT ["carnet"]
CMD ["serve"]
