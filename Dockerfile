# syntax=docker/dockerfile:1

# Build with BuildKit:    docker build -t presence-bridge .
# Run, locked down:       docker run --read-only --cap-drop=ALL --security-opt=no-new-privileges --ulimit nofile=65536 \
#                             -p 3000:3000 -e FIREBASE_PROJECT_ID=... -e FIREBASE_DATABASE_URL=... \
#                             -v ./firebase-key.json:/run/secrets/firebase-key.json:ro \
#                             -e GOOGLE_APPLICATION_CREDENTIALS=/run/secrets/firebase-key.json presence-bridge
# Check settings only:    docker run --rm --env-file production.env presence-bridge check
#
# The image holds one binary, glibc and the certificate authorities: no shell, no package manager. The process writes
# no file, so the root file system may be read-only and no volume is needed. The key file must be readable for user
# 65532. `docker stop` waits 10 s by default, which is more than DRAIN_TIMEOUT (8 s); raise both together.
#
# Operators' pages (/metrics, /healthz, /readyz) listen on loopback inside the container. To reach them from outside set
# ADMIN_LISTEN=0.0.0.0:9090 and publish that port to your own network only.

# The same version as rust-toolchain.toml (a test compares them). Pin both images by digest in your pipeline.
FROM rust:1.95.0-slim-trixie AS build
WORKDIR /build
# .dockerignore lets only the sources in. rust-toolchain.toml stays out: it asks for tools that a build does not need.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bin presence-bridge \
    && cp target/release/presence-bridge /presence-bridge

# The same Debian release as above, hence the same glibc.
FROM gcr.io/distroless/cc-debian13:nonroot
LABEL org.opencontainers.image.title="presence-bridge" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /presence-bridge /usr/local/bin/presence-bridge
ENV LOG_FORMAT=json
# In numbers, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 3000
ENTRYPOINT ["/usr/local/bin/presence-bridge"]
