"""A session shows its secrets to nobody and does not start without its jars."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from jobs.session import start_session
from lake.errors import BadSettings


def test_the_secret_key_is_in_no_command_line_and_in_no_property(settings, spark):
    secret = settings.s3_secret_key.get_secret_value()
    lines = [" ".join(line) for line in map(_command_line, psutil.process_iter()) if line]
    assert any("java" in line and "pyspark" in line for line in lines)
    assert all(secret not in line for line in lines)
    assert secret not in str(spark.sparkContext.getConf().getAll())


def test_a_session_without_jars_is_refused_with_the_fix(settings):
    with pytest.raises(BadSettings, match="TIDEMARK_SPARK_JARS_DIR"):
        start_session(settings.model_copy(update={"spark_jars_dir": Path("/nowhere")}), "test")


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
