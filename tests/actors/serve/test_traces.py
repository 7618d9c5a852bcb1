"""Traces of the endpoint by vLLM's own option: what vLLM is told, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actors.serve import config as endpoint_config
from actors.serve.config import PublisherConfig, has_packages
from actors.serve.replica.app import replica_environment, trace_arguments

COLLECTOR = "http://collector:4317"


def test_without_a_collector_nothing_is_traced() -> None:
    assert trace_arguments(PublisherConfig()) == {"disable_log_stats": True}
    assert trace_arguments(PublisherConfig(engine_metrics=True)) == {"disable_log_stats": False}
    assert not any(name.startswith("OTEL") for name in replica_environment(PublisherConfig()))


def test_vllm_gets_the_collector_and_keeps_the_statistics_that_its_traces_are_made_of() -> None:
    config = PublisherConfig(otlp_traces_endpoint=COLLECTOR, otlp_traces_protocol="http/protobuf", model_id="clinic")
    assert trace_arguments(config) == {"disable_log_stats": False, "otlp_traces_endpoint": COLLECTOR}
    environment = replica_environment(config)
    assert environment["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    assert environment["OTEL_SERVICE_NAME"] == "clinic"


@pytest.mark.parametrize("address", ["collector:4317", "file:///etc/passwd", "http:// x", "http://"])
def test_what_is_no_address_of_a_collector_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="otlp_traces_endpoint"):
        PublisherConfig(otlp_traces_endpoint=address)


def test_it_is_refused_in_one_sentence_where_opentelemetry_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_packages(endpoint_config.TRACING)
    monkeypatch.setattr(endpoint_config, "TRACING", ("opentelemetry.sdk", "opentelemetry_absent.exporter"))
    with pytest.raises(ValidationError, match=r"needs .* which are not installed here; install opentelemetry-sdk"):
        PublisherConfig(otlp_traces_endpoint=COLLECTOR)
    assert PublisherConfig().otlp_traces_endpoint is None


def test_the_option_of_vllm_has_only_this_setting() -> None:
    with pytest.raises(ValidationError, match=r"set publish\.otlp_traces_endpoint"):
        PublisherConfig(engine_extra={"otlp_traces_endpoint": COLLECTOR})
