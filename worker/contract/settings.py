"""One class of settings for every process; the environment is read when the factory is called, never at import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024
GIB = 1024 * MIB


class Settings(BaseSettings):
    """Settings from the environment (`GAPSCOPE_HOME` sets `home`, and so on)."""

    model_config = SettingsConfigDict(env_prefix="GAPSCOPE_", extra="ignore", frozen=True)

    home: Path = Field(Path("home"), description="Where datasets, runs, scores and the trash live.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="The Redis or Valkey server. Set before `gapscope up`: that server is used, none is started.",
    )
    public_url: str | None = Field(None, description="The API's address as browsers see it, for media and uploads.")
    ui_origin: str | None = Field(None, description="The UI's origin, the only one that CORS lets in.")
    devices: Annotated[tuple[int, ...], NoDecode] = Field((), description="GPUs of this worker, such as 0,1.")
    prepare_processes: int | None = Field(None, ge=1, le=256, description="Decoding processes; empty: the cores.")
    max_upload_bytes: int = Field(200 * MIB, ge=1, description="Largest upload.")
    max_media_s: float = Field(600.0, gt=0, description="Longest clip that is scored, seconds.")
    max_body_bytes: int = Field(MIB, ge=1_024, description="Largest request body elsewhere.")
    max_queued_runs: int = Field(100, ge=1, description="Runs that may wait in the queue.")
    max_scores: int = Field(1_000, ge=1, description="Scores that are kept.")
    score_days: float = Field(7.0, gt=0, description="Days for which scores are kept.")
    trash_hours: float = Field(24.0, ge=0, description="Hours for which deleted runs can be brought back.")
    max_log_bytes: int = Field(50 * MIB, ge=65_536, description="Size at which a run's log is rotated.")
    min_free_bytes: int = Field(2 * GIB, ge=0, description="New work is refused below this free disk space.")
    min_free_share: float = Field(0.05, ge=0, le=1, description="New work is refused below this share of the disk.")
    stale_beat_s: float = Field(6.0, gt=0, description="A job whose beat stood still this long is queued again.")
    cancel_grace_s: float = Field(30.0, gt=0, description="Seconds between SIGTERM and SIGKILL of a cancelled job.")
    hang_s: float = Field(120.0, gt=0, description="Least silence after which a training child counts as hanging.")

    @classmethod
    def settings_names(cls) -> list[str]:
        """Returns the environment variables that set something, for the documentation's test."""
        return [f"GAPSCOPE_{name.upper()}" for name in cls.model_fields]


def load_settings() -> Settings:
    """Returns the settings of this process, read from the environment now."""
    return Settings()  # type: ignore[call-arg, unused-ignore]  # pydantic-settings fills the fields
