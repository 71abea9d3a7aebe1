"""The peer in C: nginx with nchan, where it is installed (Debian: libnginx-mod-nchan)."""

import os
import shutil
from pathlib import Path
from typing import Final

from services.bench.rig import Process, Rig
from services.local.port import LOOPBACK, free_port

__all__ = ("MODES", "is_installed", "start")

MODES: Final = {"nchan": "", "nchan memory": "m"}
_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_MAX_CONNECTIONS: Final = 15_000


def is_installed() -> bool:
    return _nginx() is not None and _MODULE.exists()


def start(rig: Rig) -> Process:
    """One nginx worker. `/pub/NAME` and `/sub/NAME` go through the rig's Redis, `/mpub` and `/msub` stay in memory."""
    port = free_port()
    configuration = rig.folder / "nchan.conf"
    configuration.write_text(_configuration(port, rig.redis.port))
    command = [str(_nginx()), "-p", f"{rig.folder}/", "-e", "nchan.err", "-c", str(configuration)]
    return rig.start("nchan", command, port)


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _configuration(port: int, redis_port: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
{user} load_module {_MODULE}; worker_processes 1; daemon off; pid nchan.pid; error_log nchan.err warn;
worker_rlimit_nofile {_MAX_CONNECTIONS + 1000};
events {{ worker_connections {_MAX_CONNECTIONS}; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  upstream redis {{ nchan_redis_server redis://{LOOPBACK}:{redis_port}; }}
  server {{ listen {LOOPBACK}:{port} backlog=4096;
    location ~ /pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_redis_pass redis;
      nchan_message_buffer_length 2000; nchan_message_timeout 10m; }}
    location ~ /sub/(\\w+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_redis_pass redis;
      nchan_subscriber_first_message newest; }}
    location ~ /mpub/(\\w+)$ {{ nchan_publisher; nchan_channel_id m$1; nchan_message_buffer_length 2000;
      nchan_message_timeout 10m; }}
    location ~ /msub/(\\w+)$ {{ nchan_subscriber eventsource; nchan_channel_id m$1;
      nchan_subscriber_first_message newest; }}
  }}
}}
"""
