// The video server of the demo: nginx with its RTMP module, which tells Aforo who publishes and stands in front of it, and
// ffmpeg, which publishes a test pattern.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { accepts, until } from "./processes.mjs";

/** The configuration of nginx, as docs/live-signal.md describes it. */
const config = ({ folder, site, rtmp, aforo, hook }) => `
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr warn;
events {}
rtmp_auto_push off;
rtmp {
  server {
    listen 127.0.0.1:${rtmp};
    notify_update_timeout 30s;
    application live {
      live on;
      hls on;
      hls_path ${folder}/hls;
      hls_nested on;
      hls_fragment 2s;
      hls_playlist_length 12s;
      on_publish ${hook};
      on_publish_done ${hook};
      on_update ${hook};
    }
  }
}
http {
  access_log off;
  client_body_temp_path ${folder}/nginx/body;
  proxy_temp_path ${folder}/nginx/proxy;
  fastcgi_temp_path ${folder}/nginx/fastcgi;
  uwsgi_temp_path ${folder}/nginx/uwsgi;
  scgi_temp_path ${folder}/nginx/scgi;
  types {
    application/vnd.apple.mpegurl m3u8;
    video/mp2t ts;
  }
  server {
    listen 127.0.0.1:${site};
    location /hls/ {
      root ${folder};
      add_header Cache-Control no-cache;
    }
    location / {
      proxy_pass ${aforo};
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`;

/** Starts nginx and, for each channel, a publisher. */
export async function start({ processes, ports: { site, rtmp }, aforo, hook, channels, failed }) {
  const { folder } = processes;
  mkdirSync(join(folder, "nginx"));
  const file = join(folder, "nginx.conf");
  writeFileSync(file, config({ folder, site, rtmp, aforo, hook }));
  processes.run("nginx", "nginx", ["-e", "stderr", "-p", folder, "-c", file], { failed });
  await until("nginx listens", () => accepts(rtmp));
  const outputs = channels.map((channel) => `[f=flv]rtmp://127.0.0.1:${rtmp}/live/${channel}`);
  const words =
    "-loglevel error -re -f lavfi -i testsrc2=size=640x360:rate=25 -re -f lavfi -i sine=frequency=330:beep_factor=3 " +
    "-map 0:v -map 1:a -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 50 -b:v 600k " +
    "-c:a aac -b:a 64k -flags +global_header -f tee";
  processes.run("ffmpeg", "ffmpeg", [...words.split(" "), outputs.join("|")], { failed });
  for (const channel of channels) {
    const playlist = `http://127.0.0.1:${site}/hls/${channel}/index.m3u8`;
    await until(`${channel} is published`, () => fetch(playlist).then(({ ok }) => ok, () => false));
  }
}
