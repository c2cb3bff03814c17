"""One class of settings for every process; the environment is read when the factory is called, never at import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.contract.events import MAX_EVENT_BYTES
from worker.contract.hosts import is_public

MIB = 1024 * 1024
GIB = 1024 * MIB
SECRETS_DIR = "/run/secrets"
"""Where Docker and Kubernetes put secrets, one a file."""


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
    auth: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether the API asks for keys. auto: wherever it listens on another address than loopback, or "
        "public_url or ui_origin names another host. off: never, for a container whose port is published on loopback.",
    )
    requests_per_minute: float = Field(6_000.0, gt=0, description="Requests that one API key may send in the long run.")
    max_audit_bytes: int = Field(50 * MIB, ge=65_536, description="Size at which the audit log is rotated.")
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders, separated by colons, under which data folders, manifests and features must lie. Empty: "
        "any readable path, where no keys are asked for; none, where they are.",
    )
    devices: Annotated[tuple[int, ...], NoDecode] = Field((), description="GPUs of this worker, such as 0,1.")
    prepare_processes: int | None = Field(None, ge=1, le=256, description="Decoding processes; empty: the cores.")
    max_upload_bytes: int = Field(200 * MIB, ge=1, description="Largest upload.")
    max_zip_bytes: int = Field(2 * GIB, ge=1, description="Largest zip of clips that is uploaded.")
    max_zip_unpacked_bytes: int = Field(8 * GIB, ge=1, description="What an uploaded zip may hold when unpacked.")
    max_zip_files: int = Field(50_000, ge=1, le=200_000, description="Files that an uploaded zip may hold.")
    max_zip_ratio: float = Field(
        100.0, ge=1, description="How many times larger a file over 1 MiB may become when it is unpacked."
    )
    max_zip_depth: int = Field(8, ge=1, le=32, description="Folders in folders that an uploaded zip may have.")
    max_derived_bytes: int = Field(
        2 * GIB,
        ge=0,
        description="Clips made anew for browsers that are kept; beyond it the longest unseen goes first.",
    )
    derived_days: float = Field(30.0, gt=0, description="Days for which such clips are kept that nobody looks at.")
    max_media_s: float = Field(600.0, gt=0, description="Longest clip that is scored, seconds.")
    max_body_bytes: int = Field(MIB, ge=1_024, description="Largest request body elsewhere.")
    max_queued_runs: int = Field(100, ge=1, description="Runs that may wait in the queue.")
    max_queued_jobs: int = Field(
        100, ge=1, description="Preparations, scores and batches that may wait in their queues, of each kind."
    )
    user_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the places in a queue, and of the uploads at once, that one API key may take. Where no "
        "keys are asked for, everybody is one user and may take all.",
    )
    max_runs: int = Field(10_000, ge=1, description="Runs that are kept, those in the trash not counted.")
    max_home_bytes: int | None = Field(
        None,
        ge=1,
        description="Bytes that the home may hold, trash included, before new work is refused. Empty: what the disk "
        "has room for.",
    )
    max_uploads: int = Field(16, ge=1, description="Uploads that may come in at once.")
    max_scores: int = Field(1_000, ge=1, description="Scores that are kept.")
    score_days: float = Field(7.0, gt=0, description="Days for which scores are kept.")
    max_scores_bytes: int = Field(
        20 * GIB, ge=0, description="Uploaded clips that are kept with their scores; beyond it the oldest goes first."
    )
    trash_hours: float = Field(24.0, ge=0, description="Hours for which deleted runs can be brought back.")
    max_trash_bytes: int | None = Field(
        None, ge=0, description="What the trash may hold; beyond it the oldest goes first. Empty: as much as there is."
    )
    unused_store_days: float | None = Field(
        None,
        gt=0,
        description="Days after which the store of a dataset that no run and no subset names is removed, if it can be "
        "prepared again. Empty: never.",
    )
    max_unused_stores_bytes: int | None = Field(
        None, ge=0, description="What such stores may take together; beyond it the longest unused goes first."
    )
    max_log_bytes: int = Field(50 * MIB, ge=65_536, description="Size at which a run's log is rotated.")
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES,
        ge=12 * 1024,
        le=64 * 1024,
        description="Largest event; an epoch's loss terms and method's values are left out beyond it.",
    )
    max_samples_bytes: int = Field(
        2 * GIB, ge=0, description="Per-sample tables that a run keeps; older epochs are thinned out beyond it."
    )
    min_free_bytes: int = Field(2 * GIB, ge=0, description="New work is refused below this free disk space.")
    min_free_share: float = Field(0.05, ge=0, le=1, description="New work is refused below this share of the disk.")
    stale_beat_s: float = Field(6.0, gt=0, description="A job whose beat stood still this long is queued again.")
    cancel_grace_s: float = Field(30.0, gt=0, description="Seconds between SIGTERM and SIGKILL of a cancelled job.")
    hang_s: float = Field(120.0, gt=0, description="Least silence after which a training child counts as hanging.")

    webhook_url: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses, with commas between, that are told by POST when a run ends."
    )
    webhook_secret: SecretStr | None = Field(None, description="Signs what is sent to webhooks.")
    webhook_allow_private: bool = Field(
        False, description="Whether webhooks may go to this machine and to private networks."
    )

    @field_validator("devices", "webhook_url", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_at_colons(cls, value: Any) -> Any:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @property
    def asks_for_keys(self) -> bool:
        """Whether every caller needs a key, wherever the server listens: through a proxy the whole net is loopback."""
        published = is_public(self.public_url) or is_public(self.ui_origin)
        return self.auth == "on" or (self.auth == "auto" and published)

    def reserved_bytes(self, disk_bytes: int) -> int:
        """Returns the space of a disk of a size that stays free: new work is refused below it."""
        return max(self.min_free_bytes, int(self.min_free_share * disk_bytes))

    @classmethod
    def settings_names(cls) -> list[str]:
        """Returns the environment variables that set something, for the documentation's test."""
        return [f"GAPSCOPE_{name.upper()}" for name in cls.model_fields]


def load_settings() -> Settings:
    """Returns the settings of this process, read now: the environment, then files of that name in the secrets' folder.

    A container's secrets lie in files (/run/secrets/gapscope_redis_url): whoever inspects it sees its environment.
    """
    secrets = Path(os.environ.get("GAPSCOPE_SECRETS_DIR", SECRETS_DIR))
    return Settings(_secrets_dir=secrets if secrets.is_dir() else None)  # type: ignore[call-arg, unused-ignore]
