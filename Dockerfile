# syntax=docker/dockerfile:1
FROM python:3.13.7-slim-bookworm AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/cortexops \
    && python -m pip install --no-cache-dir --constraint constraints.txt build hatchling
COPY pyproject.toml README.md LICENSE ./
COPY cortexops ./cortexops
COPY workflows ./workflows
COPY activities ./activities
COPY workers ./workers
COPY ingest ./ingest
COPY console ./console
COPY sandbox ./sandbox
COPY policies ./policies
COPY runbooks ./runbooks
COPY migrations ./migrations
RUN python -m build --wheel --no-isolation --outdir /wheels \
    && python -m pip --python /opt/cortexops/bin/python install --no-cache-dir \
       --constraint constraints.txt /wheels/*.whl

FROM python:3.13.7-slim-bookworm
LABEL org.opencontainers.image.title="CortexOps" org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/cortexops/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 cortexops \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/cortexops \
       --shell /usr/sbin/nologin cortexops
COPY --from=build /opt/cortexops /opt/cortexops
WORKDIR /var/lib/cortexops
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-m", "workers.probe"]
ENTRYPOINT ["python", "-m", "workers"]
