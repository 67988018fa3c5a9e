"""Every client of the platform against servers that encrypt, ask who is there, and hold each user to its topics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable, write_deltalake
from pyarrow.fs import FileSelector, FileType
from pydantic import SecretStr

from jobs.trust_store import make_trust_store
from lake.domain import load_domain
from lake.errors import BadSettings
from lake.kafka_clients import librdkafka_options
from lake.log import Log
from lake.settings import Settings, load_settings, trust
from lake.tables import filesystem
from local import health
from local.kafka_users import create_users
from local.provision import provision
from local.tools import ROOT, Tools
from streaming.log_reader import LogReader
from streaming.produce import EventProducer, NotDelivered
from streaming.topic import TopicWatch
from tests.secure_servers import SecureServers, secure_servers

# An idempotent producer asks the cluster first, and goes on asking until its records are too old.
_ASKS_TOPICS_ALONE = {"enable_idempotence": False}
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
SHOP = load_domain("shop", ROOT / "lake/domains")


@pytest.fixture(scope="module")
def servers(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServers]:
    """With users, the shop's topic, its bucket and its raw table, all by `provision`."""
    before = os.environ.get("SSL_CERT_FILE")
    settings = Settings(home=tmp_path_factory.mktemp("home"), spark_jars_dir=tools.spark_jars)
    with secure_servers(tools, tmp_path_factory.mktemp("secure"), settings) as running:
        trust(running.provision)
        create_users(running.provision, running.users)
        provision(running.provision, SHOP)
        yield running
    os.environ.pop("SSL_CERT_FILE")
    if before is not None:
        os.environ["SSL_CERT_FILE"] = before


def send(settings: Settings, count: int = 10, **options: object) -> dict[int, int]:
    producer = EventProducer(settings, SHOP.topic, **options)
    for n in range(count):
        producer.send(f"user-{n}".encode(), b"{}", "good")
    producer.close()
    return producer.positions


def count(settings: Settings, partitions: Iterable[int]) -> int:
    """The records of these partitions, from the beginning."""
    reader = LogReader(settings, TopicWatch(settings, SHOP.topic).now(), dict.fromkeys(partitions, 0))
    read = 0
    while reader.behind or not read:
        batch = reader.poll(1000, 1 << 20, 10)
        assert batch is not None
        read += batch.rows.num_rows
    reader.close()
    return read


def test_who_may_write_writes_and_who_may_read_reads(servers: SecureServers) -> None:
    written = send(servers.as_user("producer"))
    assert count(servers.as_user("lander"), written) == sum(written.values()) >= 10


def test_who_may_only_read_cannot_write(servers: SecureServers) -> None:
    before = Log(servers.provision, SHOP).end()
    with pytest.raises(NotDelivered, match="Topic authorization failed"):
        send(servers.as_user("lander"), 1, **_ASKS_TOPICS_ALONE)
    assert Log(servers.provision, SHOP).end() == before


def test_a_producer_that_may_not_write_says_so_in_a_sentence(servers: SecureServers) -> None:
    with pytest.raises(NotDelivered, match=rf"topic '{SHOP.topic}': .*; expected every record to be acknowledged"):
        send(servers.as_user("lander"), 1, message_timeout_ms=10_000)


def test_who_may_only_write_cannot_read(servers: SecureServers) -> None:
    producer = servers.as_user("producer")
    send(producer)
    reader = LogReader(producer, TopicWatch(producer, SHOP.topic).now(), {0: 0, 1: 0, 2: 0, 3: 0})
    with pytest.raises(KafkaException) as refused:
        for _ in range(20):
            reader.poll(1000, 1 << 20, 1)
    reader.close()
    assert refused.value.args[0].code() in _REFUSED


def test_jobs_seal_and_read_the_topics_settings(servers: SecureServers) -> None:
    from datetime import UTC, datetime

    log = Log(servers.as_user("jobs"), SHOP)
    end = log.end()
    marked = log.mark(datetime.now(UTC), log.partitions())
    assert {p: offset for p, (offset, _) in marked.items()} == end
    assert log.configuration("message.timestamp.type") == {"message.timestamp.type": "LogAppendTime"}


def test_a_wrong_password_or_none_is_refused(servers: SecureServers) -> None:
    wrong = servers.as_user("lander", kafka_password=SecretStr("wrong"))
    assert health.kafka(librdkafka_options(wrong))
    plain = servers.as_user("lander", kafka_security_protocol="PLAINTEXT")
    assert health.kafka(librdkafka_options(plain))
    without_certificate = servers.provision.model_copy(update={"kafka_certificate": None, "kafka_key": None})
    assert health.kafka(librdkafka_options(without_certificate))
    assert health.kafka(librdkafka_options(servers.as_user("lander"))) is None


def test_a_server_that_nobody_vouches_for_is_not_believed(servers: SecureServers) -> None:
    assert health.kafka(librdkafka_options(servers.as_user("lander", ca_file=None)))


def test_made_again_a_user_has_its_new_password_and_exactly_its_new_rights(
    servers: SecureServers, tmp_path: Path
) -> None:
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "TIDEMARK_KAFKA_USERNAME").write_text("guest")

    def make(password: str, rights: object) -> Settings:
        (folder / "TIDEMARK_KAFKA_PASSWORD").write_text(password)
        (folder / "rights.json").write_text(json.dumps(rights))
        create_users(servers.provision, tmp_path)
        return servers.as_user("lander", kafka_username="guest", kafka_password=SecretStr(password))

    assert send(make("first", {"read": [SHOP.topic], "write": [SHOP.topic]}))
    guest = make("second", {"read": [SHOP.topic]})
    assert health.kafka(librdkafka_options(guest)) is None
    assert health.kafka(librdkafka_options(guest.model_copy(update={"kafka_password": SecretStr("first")})))
    with pytest.raises(NotDelivered, match="Topic authorization failed"):
        send(guest, 1, **_ASKS_TOPICS_ALONE)
    assert Log(guest, SHOP).end()


def _user_folder(folder: Path, password: str, rights: object) -> None:
    folder.mkdir()
    (folder / "TIDEMARK_KAFKA_USERNAME").write_text("shared")
    (folder / "TIDEMARK_KAFKA_PASSWORD").write_text(password)
    (folder / "rights.json").write_text(json.dumps(rights))


def test_a_user_that_several_folders_name_has_the_rights_of_all(servers: SecureServers, tmp_path: Path) -> None:
    _user_folder(tmp_path / "producer", "one", {"read": [], "write": [SHOP.topic]})
    _user_folder(tmp_path / "speed", "one", {"read": [SHOP.topic], "write": []})
    for _ in range(2):
        create_users(servers.provision, tmp_path)
    shared = servers.as_user("lander", kafka_username="shared", kafka_password=SecretStr("one"))
    assert count(shared, send(shared)) >= 10


def test_a_user_with_two_passwords_is_refused(servers: SecureServers, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _user_folder(tmp_path / name, name, {"read": [SHOP.topic]})
    with pytest.raises(BadSettings, match="two: another folder has another password of shared"):
        create_users(servers.provision, tmp_path)


def test_a_right_that_there_is_not_is_refused(servers: SecureServers, tmp_path: Path) -> None:
    _user_folder(tmp_path / "guest", "x", {"own": []})
    with pytest.raises(BadSettings, match="no right 'own'; expected read or write"):
        create_users(servers.provision, tmp_path)


def test_a_folder_of_certificates_is_believed_as_one_file_is(servers: SecureServers, tmp_path: Path) -> None:
    real = servers.provision.ca_file
    assert real is not None
    (tmp_path / "1.crt").write_text(real.read_text())
    (tmp_path / "0.crt").write_text(_of_another_authority(tmp_path))
    lander = servers.as_user("lander", ca_file=tmp_path)
    assert health.kafka(librdkafka_options(lander)) is None
    assert Log(lander, SHOP).end()
    assert filesystem(lander).get_file_info("secure").type == FileType.Directory
    assert len(make_trust_store(Path(str(lander.ca_bundle())), tmp_path / "trust.p12")) == 3
    (tmp_path / "only").mkdir()
    (tmp_path / "only/0.crt").write_text((tmp_path / "0.crt").read_text())
    assert health.kafka(librdkafka_options(servers.as_user("lander", ca_file=tmp_path / "only")))


def _of_another_authority(folder: Path) -> str:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another"]
    subprocess.run([*command, "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    return (folder / "crt").read_text()


def test_every_client_of_the_lake_believes_the_ca_file(servers: SecureServers) -> None:
    settings = servers.provision
    uri = settings.table_uri("probe")
    write_deltalake(uri, pa.table({"n": [1, 2]}), storage_options=settings.storage_options())
    assert DeltaTable(uri, storage_options=settings.storage_options()).to_pyarrow_table().num_rows == 2
    paths = filesystem(settings).get_file_info(FileSelector("secure/probe", recursive=True))
    assert any(info.path.endswith(".parquet") for info in paths)
    assert health.reachable(settings.s3_endpoint) is None


def test_the_store_answers(servers: SecureServers) -> None:
    url = servers.provision.store_url.get_secret_value()
    with redis.Redis.from_url(url) as client:
        assert client.ping()


def test_sparks_driver_believes_the_ca_file_and_leaves_no_copy(servers: SecureServers, tmp_path: Path) -> None:
    """In a process of its own: a session's JVM stays for as long as its process."""
    settings = servers.provision
    program = (
        "from lake.settings import load_settings\n"
        "from jobs.session import s3a_uri, start_session\n"
        "settings = load_settings()\n"
        "spark = start_session(settings, 'secure')\n"
        "uri = s3a_uri(settings.table_uri('by_spark'))\n"
        "spark.range(7).write.format('delta').save(uri)\n"
        "print('rows', spark.read.format('delta').load(uri).count())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    assert settings.ca_file is not None
    environment |= {
        "TIDEMARK_CA_FILE": str(settings.ca_file.parent),  # with what else is there: the servers' own
        "TIDEMARK_S3_ENDPOINT": settings.s3_endpoint,
        "TIDEMARK_S3_ACCESS_KEY": settings.s3_access_key,
        "TIDEMARK_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "TIDEMARK_BUCKET": settings.bucket,
        "TIDEMARK_SPARK_JARS_DIR": str(settings.spark_jars_dir),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "rows 7" in done.stdout, done.stderr[-3000:]
    assert list(tmp_path.glob("tidemark*")) == []


def test_clients_options_name_no_secret_where_brokers_want_none(settings: Settings) -> None:
    assert librdkafka_options(settings) == {"bootstrap.servers": settings.kafka_bootstrap}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TIDEMARK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "give kafka_username and kafka_password"),
        ({"TIDEMARK_KAFKA_KEY": "/tmp/key"}, "belong together"),
        ({"TIDEMARK_CA_FILE": "/nowhere/ca.crt"}, "/nowhere/ca.crt: no such file"),
        ({"TIDEMARK_CA_FILE": "."}, r"or a folder with some in \*\.crt"),
    ],
)
def test_half_an_identity_is_refused_in_a_sentence(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=told):
        load_settings()


def test_an_administrator_by_certificate_is_a_super_user(servers: SecureServers) -> None:
    admin = AdminClient(librdkafka_options(servers.provision))
    assert SHOP.topic in admin.list_topics(timeout=10).topics
