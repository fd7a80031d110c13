//! A server for comparison: nginx with the Nchan module, a pub/sub server in C.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Result,
    calls::post,
    process::{Process, Scratch, ask, free_address},
};

/// The folders in which distributions install nginx modules.
const FOLDERS: [&str; 3] = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules"];

/// The module, if it is installed.
pub fn module() -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join("ngx_nchan_module.so")).find(|file| file.exists())
}

/// Starts nginx with Nchan. Like a count, the last message of a channel is kept for new subscribers.
pub fn start(scratch: &Scratch, workers: usize) -> Result<Process> {
    let module = module().ok_or("Nchan is not installed (Debian: nginx and libnginx-mod-nchan)")?;
    let addr = free_address()?;
    let folder = scratch.path(format!("nchan-{}", addr.port()));
    fs::create_dir_all(&folder)?;
    let module = module.display();
    let conf = format!(
        "load_module {module};
daemon off;
worker_processes {workers};
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 19500; }}
http {{
  access_log off;
  nchan_shared_memory_size 256M;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen {addr} reuseport backlog=4096;
    location ~ ^/api/viewer/sse/(.+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message oldest;
      nchan_subscriber_timeout 0;
    }}
    location ~ ^/publish/(.+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 1;
      nchan_message_timeout 1h;
    }}
  }}
}}
"
    );
    fs::write(folder.join("nginx.conf"), conf)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "error.log"]);
    let mut process = Process::start("nginx", &mut command, addr, &folder.join("log"))?;
    process.wait_until(|addr| ask(addr, &publication("channel-0", 0)).is_ok())?;
    Ok(process)
}

/// The request that publishes a count.
pub fn publication(channel: &str, count: u64) -> Vec<u8> {
    let event = format!(
        r#"{{"channelId":"{channel}","count":{count},"stale":false,"asOf":1234567890123,"live":null}}"#
    );
    post(&format!("/publish/{channel}"), &event)
}
