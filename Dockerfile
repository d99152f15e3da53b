# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# OpenSSL notes when it was compiled: with one time for all, two builds of a commit are the same.
ENV SOURCE_DATE_EPOCH=0
# OpenSSL and SQLite are compiled along; the image has what they need (a C compiler, make, perl).
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin carnet --features rpki \
    && cp target/dist/carnet /usr/local/bin/carnet \
    && mkdir /var/lib/carnet

# No shell and no package manager: the C libraries that the server links, and certificate authorities for fetching the keys of
# trusted issuers.
FROM gcr.io/distroless/cc-debian12
COPY --from=build /usr/local/bin/carnet /usr/local/bin/carnet
COPY --from=build /src/LICENSE /src/LICENSE-APACHE /src/LICENSE-MIT /usr/share/doc/carnet/
COPY --from=build --chown=10001:10001 /var/lib/carnet /var/lib/carnet

# CARNET_ISSUER has to be given: the public https URL that the proxy in front serves.
ENV CARNET_DATA_DIR=/var/lib/carnet \
    CARNET_SERVER__LISTEN=0.0.0.0:8080 \
    CARNET_LOG__FORMAT=json
USER 10001:10001
WORKDIR /var/lib/carnet
VOLUME /var/lib/carnet
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["carnet", "healthcheck"]
ENTRYPOINT ["carnet"]
CMD ["serve"]
