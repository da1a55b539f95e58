# whyflow with what its lab needs. Built by `docker compose build`.
FROM rust:1.95-bookworm AS build
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends \
      clang libbpf-dev linux-libc-dev libssl-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin whyflow

FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends \
      ca-certificates iproute2 nftables conntrack libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/whyflow /usr/local/bin/whyflow
COPY lab/manifests /usr/share/whyflow/lab
COPY compose/start /usr/local/bin/start
ENTRYPOINT ["/usr/local/bin/start"]
