"""Where the brokers are, how to speak with them and who asks, in the words of each client library.

Sources: librdkafka's CONFIGURATION.md; kafka-python's KafkaProducer and KafkaAdminClient.
"""

from __future__ import annotations

from lake.settings import Settings

GROUP = "tidemark"
"""librdkafka wants a reader to name a group. It is used for nothing else: where to go on is known elsewhere."""


def librdkafka_options(settings: Settings) -> dict[str, str | int | float | bool]:
    """For confluent-kafka's clients, and for any other of librdkafka's."""
    options: dict[str, str | int | float | bool] = {"bootstrap.servers": settings.kafka_bootstrap}
    if settings.kafka_security_protocol == "PLAINTEXT":
        return options
    options["security.protocol"] = settings.kafka_security_protocol
    if settings.kafka_security_protocol.endswith("SSL"):
        if believed := settings.ca_bundle():
            options["ssl.ca.location"] = believed
        if settings.kafka_certificate:
            options["ssl.certificate.location"] = str(settings.kafka_certificate)
            options["ssl.key.location"] = str(settings.kafka_key)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["sasl.username"] = settings.kafka_username
        options["sasl.password"] = settings.kafka_password.get_secret_value()
    return options


def kafka_python_options(settings: Settings) -> dict[str, object]:
    """For kafka-python's clients."""
    options: dict[str, object] = {"bootstrap_servers": settings.kafka_bootstrap}
    if settings.kafka_security_protocol == "PLAINTEXT":
        return options
    options["security_protocol"] = settings.kafka_security_protocol
    if settings.kafka_security_protocol.endswith("SSL"):
        paths = {
            "ssl_cafile": settings.ca_bundle(),
            "ssl_certfile": settings.kafka_certificate,
            "ssl_keyfile": settings.kafka_key,
        }
        options |= {name: str(path) for name, path in paths.items() if path}
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options
