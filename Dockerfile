# One image for every process of riskwatch. What is installed comes from uv.lock alone, the tools
# that build the wheel among it; the second stage has neither them nor the sources.
FROM python:3.13-slim AS build
ENV UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --quiet uv==0.13.8
WORKDIR /src

# Dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock README.md ./
RUN UV_PROJECT_ENVIRONMENT=/opt/riskwatch UV_COMPILE_BYTECODE=1 \
      /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-install-project \
 && UV_PROJECT_ENVIRONMENT=/opt/tools \
      /opt/uv/bin/uv sync --quiet --frozen --only-group dev --no-install-project

COPY riskwatch riskwatch
COPY streams streams
COPY migrations migrations
COPY rules rules
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /wheel \
 && /opt/uv/bin/uv pip install --quiet --python /opt/riskwatch/bin/python --compile-bytecode \
      --no-deps --no-index /wheel/*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 riskwatch \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin riskwatch
COPY --from=build /opt/riskwatch /opt/riskwatch
ENV PATH=/opt/riskwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    RISKWATCH_HTTP=0.0.0.0:8000 \
    RISKWATCH_LOG_FORMAT=json
# Numbers, so that an orchestrator can see that it is not root. /tmp is the one place to write.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/live', timeout=3)"]
ENTRYPOINT ["riskwatch"]
CMD ["--help"]
