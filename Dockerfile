# Two images:
#   docker build -t redis-api .                            serve, helloworld, check, sync-auth
#   docker build -t redis-api-loadbot --target loadbot .   the whole rig, with vegeta
# 40 and 68 MB unpacked, 12 and 22 MB compressed; 24 MB of the first is the binary, with the line
# tables by which a backtrace names functions and lines.
# Plain Dockerfile syntax: docker, buildah and podman build it as it stands. With one time for files and
# configuration (deploy/scripts/build.sh passes the commit's) two builds from nothing give the same bytes:
# tests/cluster/README.md.

# The manifests, and empty stand-ins for the sources. What the next stages copy from here changes
# only when a dependency does, so that dependencies have a layer of their own.
FROM docker.io/library/rust:1.95-slim-bookworm AS manifests
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
# Targets that a manifest may name stay, all else goes; equal times make equal layers.
RUN echo 'fn main() {}' > /tmp/stand-in.rs \
 && find src benches -type f ! -name Cargo.toml ! -name lib.rs ! -name main.rs ! -name build.rs \
      ! -path 'benches/*.rs' -delete \
 && find src benches -mindepth 1 -type d -empty -delete \
 && find src benches -name '*.rs' -exec cp /tmp/stand-in.rs {} ';' \
 && find . -exec touch -d @0 {} +

FROM docker.io/library/rust:1.95-slim-bookworm AS build-api
WORKDIR /build
# The time that gcc writes for __DATE__ and __TIME__, which mimalloc takes into the binary. One that
# never changes: with the commit's, each commit would build all dependencies.
ENV SOURCE_DATE_EPOCH=0
COPY --from=manifests /build ./
RUN cargo build --release --locked --no-default-features --bin redis-api
COPY src src
COPY docs/openapi.yaml docs/
# cargo goes by times, and the sources may be older than the build of their stand-ins.
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --no-default-features --bin redis-api

FROM docker.io/library/rust:1.95-slim-bookworm AS build-loadbot
WORKDIR /build
ENV SOURCE_DATE_EPOCH=0
COPY --from=manifests /build ./
RUN cargo build --release --locked --bin redis-api
COPY src src
COPY docs/openapi.yaml docs/
RUN find src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked --bin redis-api

FROM docker.io/library/golang:1.26-bookworm AS vegeta
# The version that scripts/setup.sh installs. No C: the runtime image has no use for it.
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags '-s -w' \
      github.com/tsenart/vegeta/v12@v12.13.0

# glibc (musl sees at most 48 addresses of a name, and there may be 800 bots), libgcc, CA roots, the
# user 65532; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS loadbot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="redis-api-loadbot" \
      org.opencontainers.image.description="Load, dashboard and updater for redis-api" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=vegeta /out/vegeta /usr/local/bin/vegeta
COPY --from=build-loadbot /build/target/release/redis-api /usr/local/bin/redis-api
# By number, so that the kubelet can see that it isn't root.
USER 65532:65532
EXPOSE 8080 8081 8082
ENTRYPOINT ["/usr/local/bin/redis-api"]

FROM gcr.io/distroless/cc-debian12:nonroot AS api
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="redis-api" \
      org.opencontainers.image.description="An HTTP read API over Redis that scales with its pods" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build-api /build/target/release/redis-api /usr/local/bin/redis-api
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/redis-api"]
CMD ["serve"]
