# One image for the engine and the bots. Build and run it through docker-compose.yml; see docs/docker.md.
FROM python:3.11-slim-bookworm AS base

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_DISABLE_TELEMETRY=1
WORKDIR /house

# torch.compile needs a C++ compiler; without one the trainer runs eagerly, and says so
RUN apt-get update && apt-get install -y --no-install-recommends g++ curl && rm -rf /var/lib/apt/lists/*

# On a machine without a GPU, an index with CPU-only wheels saves gigabytes: --build-arg TORCH_INDEX=URL
ARG TORCH_INDEX=
COPY constraints.txt .
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} torch

COPY pyproject.toml README.md LICENSE ./
COPY selves selves
COPY training training
COPY serving serving
COPY memory memory
COPY bots bots
COPY book book
COPY app app
RUN pip install -c constraints.txt ".[serve,train,discord,app,book,hub,postgres]"
COPY recipes recipes
COPY runs runs
COPY selves.toml .

RUN useradd --create-home selves && mkdir /house/home && chown selves /house/home
USER selves
VOLUME /house/home
ENTRYPOINT ["selves"]
CMD ["--help"]
