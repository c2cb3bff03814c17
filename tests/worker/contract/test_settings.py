"""Settings come from the environment, and secrets from files where a container has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.contract.settings import load_settings


def test_a_secret_is_read_from_its_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gapscope_redis_url").write_text("redis://:hush@redis:6379/0\n")
    (tmp_path / "gapscope_webhook_secret").write_text("quiet\n")
    monkeypatch.setenv("GAPSCOPE_SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("GAPSCOPE_REDIS_URL", raising=False)
    settings = load_settings()
    assert settings.redis_url == "redis://:hush@redis:6379/0"
    assert "redis_url" in settings.model_fields_set
    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == "quiet"
    monkeypatch.setenv("GAPSCOPE_REDIS_URL", "redis://other:6379/0")
    assert load_settings().redis_url == "redis://other:6379/0"


def test_a_folder_of_secrets_that_is_not_there_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_SECRETS_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("GAPSCOPE_REDIS_URL", raising=False)
    assert load_settings().redis_url == "redis://127.0.0.1:6379/0"
